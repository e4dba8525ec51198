using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Describes an operator along a sequence for tests. Its inputs have names, "initialState" among them. Tests compare results and gradients of a
/// weighted sum of output and final state. An error is the maximum difference divided by the maximum expected magnitude of that tensor.
/// </summary>
public abstract class SequenceOperator
{
    // float32 sums over up to 1000 tokens and 256 states: 2^-24 times a few tens; measured at most 6e-6
    public const double Tolerance = 2e-5;

    /// <summary>Selects the random inputs of this thread. Each number means other inputs.</summary>
    [ThreadStatic]
    public static int Draw;

    /// <summary>Gets the names of the inputs with the shape (batch, length, ...).</summary>
    public abstract IReadOnlyList<string> Timed { get; }

    /// <summary>Gets the names of the inputs in the dtype of the activations. All others are float32.</summary>
    public virtual IReadOnlyList<string> Activations => Timed;

    /// <summary>Gets the names of the inputs that may be left out.</summary>
    public abstract IReadOnlyList<string> Optional { get; }

    public abstract int Variants { get; }

    public abstract KernelBackend BackendFor(Tensor x);

    /// <summary>
    /// Returns the permitted difference between the float32 states of a whole row and of single steps, for an output like this one.
    /// </summary>
    public virtual double StateTolerance(Tensor output) => Tolerance;

    /// <summary>Returns random float64 inputs in main memory with every option in use. Sizes differ with the variant.</summary>
    public abstract Tensors Inputs(long batch, long length, int variant = 0);

    public abstract (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout = null);

    /// <summary>Computes the same with libtorch's operators, in parallel over the length, for any type and device.</summary>
    public abstract (Tensor Output, Tensor Final) Composed(Tensors inputs, SequenceLayout? layout = null);

    public abstract Tensor Step(Tensor state, Tensors inputs);

    public static void Close(string name, Tensor actual, Tensor expected, ScalarType type, double? tolerance = null)
    {
        double error = Error(actual, expected), allowed = tolerance
            ?? type switch { ScalarType.Float64 => 1e-12, ScalarType.BFloat16 => 8e-3, _ => Tolerance };
        Assert.True(error <= allowed, $"{name}: error {error:g3}, allowed {allowed:g3}");
    }

    // at least 1e-3, so that a gradient that is only rounding is not compared with itself
    public static double Error(Tensor actual, Tensor expected)
    {
        using var scope = NewDisposeScope();
        if (expected.NumberOfElements == 0) return 0;
        double difference = (actual.detach().to(ScalarType.Float64) - expected).abs().max().item<double>();
        return double.IsNaN(difference) ? double.PositiveInfinity : difference / Math.Max(1e-3, expected.abs().max().item<double>());
    }

    /// <summary>Returns the inputs as leaves of a dtype (after rounding to another) on a device.</summary>
    public Tensors Leaves(Tensors inputs, ScalarType type, ScalarType? rounding = null, Device? device = null)
    {
        var leaves = new Tensors();
        foreach (var (name, tensor) in inputs)
        {
            var own = Activations.Contains(name) || type == ScalarType.Float64 ? type : ScalarType.Float32;
            var rounded = rounding is { } coarse ? tensor.to(Activations.Contains(name) ? coarse : ScalarType.Float32) : tensor;
            leaves[name] = rounded.to(own, device ?? CPU, copy: true).detach().requires_grad_();
        }
        return leaves;
    }

    /// <summary>Returns output, final state and all gradients as float64, of inputs converted to a type (after rounding to another one).</summary>
    public Tensors Evaluate(Tensors inputs, ScalarType type, SequenceLayout? layout = null, double output = 1, double final = 1, long offset = 0,
        long row = 0, ScalarType? rounding = null, Device? device = null, Func<Tensors, SequenceLayout?, (Tensor, Tensor)>? forward = null)
    {
        var leaves = Leaves(inputs, type, rounding, device);
        var (result, state) = (forward ?? Forward)(leaves, layout);
        return Backward(leaves, result, state, output, final, offset, row);
    }

    public static Tensors Backward(Tensors leaves, (Tensor Output, Tensor Final) results) => Backward(leaves, results.Output, results.Final);

    // the weights of the sum depend on the position of an element alone: cosines, of bfloat16's precision so that no type rounds them
    public static Tensors Backward(
        Tensors leaves, Tensor output, Tensor final, double outputWeight = 1, double finalWeight = 1, long offset = 0, long row = 0)
    {
        static Tensor Weights(Tensor like, long offset, long row)
        {
            long perRow = like.NumberOfElements / like.size(0), perToken = perRow / like.size(1);
            var place = arange(offset * perToken, offset * perToken + perRow, ScalarType.Float64, like.device).mul(Scalars.From(0.7)).unsqueeze(0);
            var rows = arange(row, row + like.size(0), ScalarType.Float64, like.device).mul(Scalars.From(1.3)).unsqueeze(1);
            return place.add(rows, Scalars.One).cos().reshape(like.shape).to(ScalarType.BFloat16).to(ScalarType.Float64);
        }
        var values = new Tensors { ["output"] = output.detach().to(ScalarType.Float64), ["final"] = final.detach().to(ScalarType.Float64) };
        var parts = new List<Tensor>();
        if (outputWeight != 0) parts.Add((output.to(ScalarType.Float64) * Weights(output, offset, row)).sum());
        if (finalWeight != 0 && final.NumberOfElements > 0) parts.Add((final.to(ScalarType.Float64) * Weights(final, 0, row)).sum());
        Autograd.Backward(parts.Count == 2 ? parts[0].add(parts[1], Scalars.One) : parts[0]);
        foreach (var (name, leaf) in leaves)
            values["d " + name] = leaf.grad is { } gradient ? gradient.to(ScalarType.Float64) : zeros_like(leaf, ScalarType.Float64);
        return values;
    }
}
