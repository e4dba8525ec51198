using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Holds an operator, output and every gradient, against its reference in float64.</summary>
static class OperatorCheck
{
    /// <summary>
    /// Names a file that receives one line for every comparison: class, result, error, error of the composed operators, and size. Null, unless the
    /// variable is set, means no file.
    /// </summary>
    static readonly string? ErrorLog = Environment.GetEnvironmentVariable("HYBRID_ERROR_LOG");

    static readonly Lock Gate = new();

    public delegate Tensor Operator(IReadOnlyList<Tensor?> inputs);

    public static Tensor Normal(params long[] size) => randn(size, ScalarType.Float64);

    /// <summary>Returns the output and the gradient of every given input for one fixed direction, as float64.</summary>
    public static Tensor[] Run(Operator op, IReadOnlyList<Tensor?> inputs, ScalarType type, ISet<int>? float32 = null)
    {
        using var scope = NewDisposeScope();
        var leaves = inputs.Select((input, i) =>
            input?.to(type == ScalarType.Float64 || float32?.Contains(i) != true ? type : ScalarType.Float32).clone().requires_grad_()).ToArray();
        var output = op(leaves);
        Autograd.Backward(output, Direction(output));
        var results = new List<Tensor> { output.detach() };
        results.AddRange(leaves.Where(leaf => leaf is not null).Select(leaf => leaf!.grad ?? zeros_like(leaf)));
        return [.. results.Select(result => result.to(ScalarType.Float64).clone().MoveToOuterDisposeScope())];
    }

    /// <summary>Compares float32 with the float64 reference. The tolerance is what rounding of sums explains.</summary>
    public static void MatchesReference(Operator op, Operator reference, IReadOnlyList<Tensor?> inputs, double relative = 2e-5)
    {
        using var scope = NewDisposeScope();
        var single = inputs.Select(input => input?.to(ScalarType.Float32)).ToArray();       // what both see is the same number
        var (actual, expected) = (Run(op, single, ScalarType.Float32), Run(reference, single, ScalarType.Float64));
        for (int i = 0; i < expected.Length; i++) Close(expected[i], actual[i], relative, Name(i));
    }

    public static void Close(Tensor expected, Tensor actual, double relative, string name)
    {
        Assert.Equal(expected.shape, actual.shape);
        if (expected.NumberOfElements == 0) return;
        (expected, actual) = (expected.to(ScalarType.Float64), actual.to(ScalarType.Float64));
        Assert.False(actual.isnan().any().item<bool>(), $"{name} has NaN");
        double error = (expected - actual).abs().max().item<double>(), size = Math.Max(1, expected.abs().max().item<double>());
        Assert.True(error <= relative * size, $"{name}: error {error:g3} with values up to {size:g3}");
    }

    /// <summary>
    /// Returns the weights of the sum of outputs whose gradients are compared: cosines of bfloat16's precision, so that no type rounds them.
    /// </summary>
    public static Tensor Direction(Tensor output)
    {
        using var scope = NewDisposeScope();
        var cosines = arange(0, output.NumberOfElements, ScalarType.Float64, output.device).mul_(Scalars.From(0.7)).cos_();
        return cosines.to(ScalarType.BFloat16).to(output.dtype).reshape(output.shape).MoveToOuterDisposeScope();
    }

    /// <summary>Bfloat16 is at most twice as far from the float64 reference as what a user would compose of bfloat16 operators.</summary>
    public static void BFloat16IsAsGoodAsComposed(
        Operator op, Operator composed, Operator reference, IReadOnlyList<Tensor?> inputs, params int[] float32) =>
        IsAsGoodAsComposed(ScalarType.BFloat16, op, composed, reference, inputs, float32);

    /// <summary>The operator in a type is at most twice as far from the float64 reference as what a user would compose of operators in that type. A
    /// single number is left out:
    /// how far that of composed operators is off is a matter of luck.</summary>
    public static void IsAsGoodAsComposed(
        ScalarType type, Operator op, Operator composed, Operator reference, IReadOnlyList<Tensor?> inputs, params int[] float32)
    {
        using var scope = NewDisposeScope();
        var kept = new HashSet<int>(float32);
        var rounded = inputs.Select((input, i) => input?.to(kept.Contains(i) ? ScalarType.Float32 : type)).ToArray();
        var expected = Run(reference, rounded, ScalarType.Float64);
        var (actual, plain) = (Run(op, rounded, type, kept), Run(composed, rounded, type, kept));
        for (int i = 0; i < expected.Length; i++)
            if (i > 0 || expected[0].dim() > 0) ErrsAtMostTwice($"{type}, {Name(i)}", actual[i], plain[i], expected[i]);
    }

    /// <summary>Specifies a few units of the last place of float32, which another order of the same sums can change.</summary>
    public const double Order = 1e-6;

    /// <summary>
    /// The root mean square error of one result is at most twice that of the composed operators, or what <paramref name="order"/> of its size comes
    /// to.
    /// </summary>
    /// <param name="order">By default <see cref="Order"/>.</param>
    public static void ErrsAtMostTwice(string name, Tensor ours, Tensor composed, Tensor exact, double order = Order)
    {
        if (exact.NumberOfElements == 0) return;
        using var scope = NewDisposeScope();
        double Size(Tensor tensor) => tensor.square().mean().sqrt().item<double>();
        double own = Size(ours - exact), theirs = Size(composed - exact), size = Size(exact);
        Assert.False(double.IsNaN(own), $"{name} has NaN");
        if (ErrorLog is { } log)
            lock (Gate)
                File.AppendAllText(log, string.Create(
                System.Globalization.CultureInfo.InvariantCulture,
                $"{TestContext.Current.TestClass?.TestClassSimpleName}\t{name}\t{own:g4}\t{theirs:g4}\t{size:g4}\n"));
        // values below 1e-3 are what cancellation left
        Assert.True(own <= 2 * theirs + order * Math.Max(size, 1e-3), $"{name}: error {own:g3}, composed operators {theirs:g3}, values of {size:g3}");
    }

    /// <summary>Runs steps while another thread collects garbage without pause, for a time and at least a number of steps.</summary>
    public static void UnderGarbageCollection(TimeSpan time, int minSteps, Action step)
    {
        using var stop = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested) { GC.Collect(); GC.WaitForPendingFinalizers(); }
        });
        collector.Start();
        var started = System.Diagnostics.Stopwatch.StartNew();
        try
        {
            for (int steps = 0; steps < minSteps || started.Elapsed < time; steps++) step();
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
    }

    static string Name(int result) => result == 0 ? "the output" : $"the gradient of input {result - 1}";
}
