using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Creates the initial values of parameters. They are drawn in float32 on the CPU from one generator, so that a seed creates the same model on every
/// device. Weights of projections are then stored in <see cref="WeightType"/>; all other parameters stay float32.
/// </summary>
public sealed class ModuleFactory : IDisposable
{
    readonly Generator generator;
    readonly bool blank;
    readonly List<Parameter> made = [];

    /// <summary>Creates a factory for the parameters of a design.</summary>
    /// <param name="design">The design with its widths and its initialisation.</param>
    /// <param name="device">The device of the parameters.</param>
    /// <param name="seed">The seed of the generator.</param>
    public ModuleFactory(HybridDesign design, Device device, long seed) : this(design, device, seed, blank: false) { }

    /// <summary>Creates a factory. With <paramref name="blank"/>, parameters are undefined, and the caller fills them.</summary>
    internal ModuleFactory(HybridDesign design, Device device, long seed, bool blank, ScalarType weightType = ScalarType.Float32)
    {
        this.blank = blank;
        ArgumentNullException.ThrowIfNull(design);
        StateChecks.DeviceOf(device);
        ModuleChecks.WeightType(weightType);
        WeightType = weightType;
        TorchDevices.EnsureUsable(device, nameof(device));
        Design = design;
        Device = device;
        NormEpsilon = design.NormEpsilon;
        generator = new Generator((ulong)seed, CPU);
    }

    /// <summary>Gets the design of the modules.</summary>
    public HybridDesign Design { get; }

    /// <summary>Gets the device of the parameters.</summary>
    public Device Device { get; }

    /// <summary>
    /// Gets the type in which weights of projections are stored: float32, or bfloat16 for inference. The default is float32. Parameters that are used
    /// in float32 keep that type: norms, convolutions, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>, routers. With bfloat16 no parameter is trainable.
    /// </summary>
    public ScalarType WeightType { get; }

    /// <summary>Gets the width of the residual stream.</summary>
    public int Width => Design.Width;

    /// <summary>Gets the number of the current block, from 1; 0 outside blocks.</summary>
    public int Position { get; private set; }

    /// <summary>Gets the epsilon of the norms of the current block.</summary>
    public double NormEpsilon { get; private set; }

    /// <summary>Creates normally distributed values with a standard deviation, truncated at the cut-off of the design.</summary>
    public Parameter Normal(double deviation, params long[] shape) => Make(Given(shape), () => DrawNormal(deviation, shape));

    /// <summary>Creates the same values for a matrix with which activations are multiplied, stored in <see cref="WeightType"/>.</summary>
    internal Parameter Weight(double deviation, params long[] shape) => Make(Given(shape), () => DrawNormal(deviation, shape), WeightType);

    /// <summary>Creates uniformly distributed values in [low, high), stored in <see cref="WeightType"/>.</summary>
    internal Parameter UniformWeight(double low, double high, params long[] shape) => Make(Given(shape), () => Draw(low, high, shape), WeightType);

    /// <summary>Creates the bias of a projection: zeros, stored in <see cref="WeightType"/> like its weight.</summary>
    internal Parameter Bias(params long[] shape) => Make(shape, () => zeros(shape, float32), WeightType);

    Tensor DrawNormal(double deviation, long[] shape)
    {
        if (Design.Initialisation.Cutoff is not { } cutoff) return empty(shape, float32).normal_(0, deviation, Source);
        // the inverse of the distribution function at a uniform draw within the cut-off: 2 Phi(c) - 1 = erf(c / sqrt(2))
        double bound = ErrorFunction(cutoff / Math.Sqrt(2));
        return empty(shape, float32).uniform_(-bound, bound, Source).erfinv_().mul_(Scalars.From(deviation * Math.Sqrt(2)))
            .clamp_(Scalars.From(-cutoff * deviation), Scalars.From(cutoff * deviation));
    }

    /// <summary>Creates uniformly distributed values in [low, high).</summary>
    public Parameter Uniform(double low, double high, params long[] shape) => Make(Given(shape), () => Draw(low, high, shape));

    /// <summary>Creates a parameter with one value.</summary>
    public Parameter Constant(double value, params long[] shape) => Make(Given(shape), () => full(shape, Scalars.From(value), float32));

    /// <summary>Creates values computed from uniformly distributed values in [low, high).</summary>
    public Parameter FromUniform(double low, double high, Func<Tensor, Tensor> map, params long[] shape)
    {
        ArgumentNullException.ThrowIfNull(map);
        return Make(Given(shape), () => map(Draw(low, high, shape)));
    }

    /// <summary>Creates values computed without randomness.</summary>
    public Parameter From(Func<Tensor> values) => Make(null, values);

    /// <summary>Creates the weight of a projection (outputs, inputs), stored in <see cref="WeightType"/>.</summary>
    /// <param name="outputs">The output width.</param>
    /// <param name="inputs">The input width.</param>
    /// <param name="intoResidual">
    /// Whether the output is added to the residual stream; the standard deviation is then <see cref="ResidualDeviation"/>.
    /// </param>
    public Parameter Projection(long outputs, long inputs, bool intoResidual = false)
    {
        return Weight(intoResidual ? ResidualDeviation : Design.Initialisation.StandardDeviation, outputs, inputs);
    }

    /// <summary>Gets the standard deviation of projections whose output is added to the residual stream at <see cref="Position"/>.</summary>
    public double ResidualDeviation => Design.Initialisation.StandardDeviation / Design.Initialisation.Residual switch
    {
        ResidualScaling.None => 1,
        ResidualScaling.Depth => Math.Sqrt(2.0 * Math.Max(1, Design.Depth)),
        ResidualScaling.Position => Math.Sqrt(2.0 * Math.Max(1, Position)),
        _ => throw new InvalidOperationException($"unknown residual scaling {Design.Initialisation.Residual}"),
    };

    static long[] Given(long[] shape) => shape ?? throw new ArgumentNullException(nameof(shape));

    static double ErrorFunction(double x)
    {
        using var value = tensor(x, ScalarType.Float64);
        using var result = value.erf();
        return result.item<double>();
    }

    /// <summary>Disposes all created parameters, because those of an unfinished model have no owner.</summary>
    internal void Abandon()
    {
        foreach (var parameter in made) parameter.Dispose();
    }

    /// <summary>Freezes the parameters of a finished model whose weights are not float32, because they are too coarse for training.</summary>
    internal void Finish()
    {
        if (WeightType == ScalarType.Float32) return;
        foreach (var parameter in made) parameter.requires_grad = false;
    }

    /// <summary>Creates a block, during which <see cref="Position"/> and <see cref="NormEpsilon"/> are those of the block.</summary>
    internal T At<T>(int position, double normEpsilon, Func<T> make)
    {
        (Position, NormEpsilon) = (position, normEpsilon);
        try
        {
            return make();
        }
        finally
        {
            (Position, NormEpsilon) = (0, Design.NormEpsilon);
        }
    }

    // a disposed generator would be taken for the default generator of torch
    Generator Source
    {
        get
        {
            ObjectDisposedException.ThrowIf(generator.Handle == 0, this);
            return generator;
        }
    }

    Tensor Draw(double low, double high, long[] shape)
    {
        Require.InRange(Math.Abs(low) <= float.MaxValue, nameof(low), low, "a finite number in the range of float32");
        Require.InRange(high >= low && high <= float.MaxValue, nameof(high), high, $"at least low = {low}, in the range of float32");
        return empty(shape, float32).uniform_(low, high, Source);
    }

    Parameter Make(long[]? shape, Func<Tensor> values, ScalarType type = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(values);
        foreach (var size in shape ?? [])
            if (size < 0) throw Require.Unfit(nameof(shape), $"shape is ({string.Join(", ", shape!)})", "sizes of at least 0");
        using var scope = NewDisposeScope();
        // a model that is created in inference mode can be trained afterwards, which tensors of that mode cannot
        using var ordinary = inference_mode(false);
        using var noGrad = no_grad();
        var parameter = new Parameter(blank && shape is not null ? Blank(shape, type) : values().to(type, Device, copy: true), requires_grad: true);
        parameter.DetachFromDisposeScope();
        made.Add(parameter);
        return parameter;
    }

    Tensor Blank(long[] shape, ScalarType type)
    {
        var memory = empty(shape, type, Device);
        LargePages.Advise(memory);
        return memory;
    }

    /// <inheritdoc/>
    public void Dispose() => generator.Dispose();
}
