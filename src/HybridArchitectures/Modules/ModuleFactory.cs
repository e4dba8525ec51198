using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Makes the initial values of parameters, drawn in float32 on the CPU from one generator, so that a seed gives the same model on every device.
/// Weights of projections are then held in <see cref="WeightType"/>; everything else stays float32.
/// </summary>
public sealed class ModuleFactory : IDisposable
{
    readonly Generator generator;
    readonly bool blank;
    readonly List<Parameter> made = [];

    /// <summary>A factory for a design's parameters.</summary>
    /// <param name="design">The design: widths and its initialisation settings.</param>
    /// <param name="device">Where the parameters are to live.</param>
    /// <param name="seed">Seed of the generator.</param>
    public ModuleFactory(HybridDesign design, Device device, long seed) : this(design, device, seed, blank: false) { }

    /// <summary>With <paramref name="blank"/>, parameters are left as memory gives them: the caller fills every one.</summary>
    internal ModuleFactory(HybridDesign design, Device device, long seed, bool blank, ScalarType weightType = ScalarType.Float32)
    {
        this.blank = blank;
        ArgumentNullException.ThrowIfNull(design);
        ModuleChecks.DeviceOf(device);
        ModuleChecks.WeightType(weightType);
        WeightType = weightType;
        TorchDevices.Require(device, nameof(device));
        Design = design;
        Device = device;
        NormEpsilon = design.NormEpsilon;
        generator = new Generator((ulong)seed, CPU);
    }

    /// <summary>The design the modules belong to.</summary>
    public HybridDesign Design { get; }

    /// <summary>Where parameters live.</summary>
    public Device Device { get; }

    /// <summary>
    /// The type in which weights of projections are held: float32, or bfloat16 for models that only run. The default is float32. Parameters that
    /// enter the arithmetic in float32 keep that type: norms, convolutions, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>, routers. With bfloat16 no
    /// parameter is trainable.
    /// </summary>
    public ScalarType WeightType { get; }

    /// <summary>The width of the residual stream.</summary>
    public int Width => Design.Width;

    /// <summary>Number of the block being made, from 1; 0 outside blocks.</summary>
    public int Position { get; private set; }

    /// <summary>Epsilon of the norms of the block being made.</summary>
    public double NormEpsilon { get; private set; }

    /// <summary>Normal values of a standard deviation; what lies beyond the design's cut-off is drawn again.</summary>
    public Parameter Normal(double deviation, params long[] shape) => Make(Given(shape), () => DrawNormal(deviation, shape));

    /// <summary>The same for a matrix that activations are multiplied by: held in <see cref="WeightType"/>.</summary>
    internal Parameter Weight(double deviation, params long[] shape) => Make(Given(shape), () => DrawNormal(deviation, shape), WeightType);

    /// <summary>Uniform values in [low, high), held in <see cref="WeightType"/>.</summary>
    internal Parameter UniformWeight(double low, double high, params long[] shape) => Make(Given(shape), () => Draw(low, high, shape), WeightType);

    /// <summary>The bias of a projection, zeros, held in <see cref="WeightType"/> as its weight is.</summary>
    internal Parameter Bias(params long[] shape) => Make(shape, () => zeros(shape, float32), WeightType);

    Tensor DrawNormal(double deviation, long[] shape)
    {
        if (Design.Initialisation.Cutoff is not { } cutoff) return empty(shape, float32).normal_(0, deviation, Source);
        // the inverse of the distribution function at a uniform draw within the cut-off: 2 Phi(c) - 1 = erf(c / sqrt(2))
        double bound = ErrorFunction(cutoff / Math.Sqrt(2));
        return empty(shape, float32).uniform_(-bound, bound, Source).erfinv_().mul_(Scalars.From(deviation * Math.Sqrt(2)))
            .clamp_(Scalars.From(-cutoff * deviation), Scalars.From(cutoff * deviation));
    }

    /// <summary>Uniform values in [low, high).</summary>
    public Parameter Uniform(double low, double high, params long[] shape) => Make(Given(shape), () => Draw(low, high, shape));

    /// <summary>One value throughout.</summary>
    public Parameter Constant(double value, params long[] shape) => Make(Given(shape), () => full(shape, Scalars.From(value), float32));

    /// <summary>Values computed from a uniform draw in [low, high).</summary>
    public Parameter FromUniform(double low, double high, Func<Tensor, Tensor> map, params long[] shape) => Make(Given(shape), () => map(Draw(low, high, shape)));

    /// <summary>Values computed without randomness.</summary>
    public Parameter From(Func<Tensor> values) => Make(null, values);

    /// <summary>The weight of a projection (outputs, inputs), held in <see cref="WeightType"/>.</summary>
    /// <param name="outputs">Output width.</param>
    /// <param name="inputs">Input width.</param>
    /// <param name="intoResidual">Whether its output is added to the residual stream: its deviation is then <see cref="ResidualDeviation"/>.</param>
    public Parameter Projection(long outputs, long inputs, bool intoResidual = false)
    {
        return Weight(intoResidual ? ResidualDeviation : Design.Initialisation.StandardDeviation, outputs, inputs);
    }

    /// <summary>Standard deviation of projections that write into the residual stream at <see cref="Position"/>.</summary>
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

    /// <summary>Disposes all parameters that were made: those of a model that could not be finished belong to nobody.</summary>
    internal void Abandon()
    {
        foreach (var parameter in made) parameter.Dispose();
    }

    /// <summary>Freezes the parameters of a finished model whose weights are not held in float32: they are too coarse to be trained.</summary>
    internal void Finish()
    {
        if (WeightType == ScalarType.Float32) return;
        foreach (var parameter in made) parameter.requires_grad = false;
    }

    /// <summary>Makes a block: <see cref="Position"/> and <see cref="NormEpsilon"/> are its own meanwhile.</summary>
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

    // a generator that is gone would be taken for torch's own
    Generator Source
    {
        get
        {
            ObjectDisposedException.ThrowIf(generator.Handle == 0, this);
            return generator;
        }
    }

    Tensor Draw(double low, double high, long[] shape) => empty(shape, float32).uniform_(low, high, Source);

    Parameter Make(long[]? shape, Func<Tensor> values, ScalarType type = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(values);
        foreach (var size in shape ?? [])
            if (size < 0) throw new ArgumentException($"shape is ({string.Join(", ", shape!)}); expected sizes of at least 0", nameof(shape));
        using var scope = NewDisposeScope();
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
