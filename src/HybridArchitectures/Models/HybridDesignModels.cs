using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>Creates models from designs.</summary>
public static class HybridDesignModels
{
    /// <summary>Creates a model with undefined parameters, which the caller fills.</summary>
    internal static HybridLanguageModel CreateBlankModel(
        this HybridDesign design, ScalarType compute, Device device, ScalarType weightType = ScalarType.Float32)
    {
        StateChecks.ComputeType(compute);
        ModuleChecks.WeightType(weightType);
        TorchLibrary.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(design, device, seed: 0, blank: true, weightType);
        return Finished(factory, made => new HybridLanguageModel(made, compute));
    }

    /// <summary>Creates a head of multi-token prediction whose parameters are undefined. <paramref name="design"/> describes its blocks.</summary>
    internal static PredictionHead CreateBlankPredictionHead(this HybridDesign design, ScalarType compute, Device device, ScalarType weightType)
    {
        TorchLibrary.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(design, device, seed: 0, blank: true, weightType);
        return Finished(factory, made => new PredictionHead(made, compute));
    }

    /// <summary>Creates a head of multi-token prediction with new parameters. <paramref name="design"/> describes its blocks.</summary>
    internal static PredictionHead CreatePredictionHead(
        this HybridDesign design, ScalarType compute, Device device, long? seed, ScalarType weightType) =>
        Create(design, compute, device, seed, weightType, factory => new PredictionHead(factory, compute));

    static T Finished<T>(ModuleFactory factory, Func<ModuleFactory, T> create)
    {
        try
        {
            var made = create(factory);
            factory.Finish();
            return made;
        }
        catch
        {
            factory.Abandon();
            throw;
        }
    }

    /// <summary>Creates a model with new parameters.</summary>
    /// <param name="design">The design.</param>
    /// <param name="compute">The type of activations: float32 (the default) or bfloat16; float64 for comparisons.</param>
    /// <param name="device">The device. The default, null, is the CPU.</param>
    /// <param name="seed">
    /// The seed of the initial values, which are the same on every device. With null, the default, the seed comes from the current generator of
    /// torch.
    /// </param>
    /// <param name="weightType">
    /// The type in which weights of projections are stored. The default, float32, is needed for training: weights are cast to the type of activations
    /// at each use. bfloat16 halves the memory, and the bytes that each step reads. Such a model is not trainable, except for low-rank adapters.
    /// Parameters that are used in float32 keep that type: norms, convolutions, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>, routers.
    /// </param>
    /// <returns>The model, which the caller disposes.</returns>
    /// <exception cref="ArgumentException">
    /// The design allows no model, or the device is a GPU that this program or machine does not have. The message says what to install.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// <see cref="MixerSpec.CountParameters"/> of a custom mixer differs from the number of parameters of its module.
    /// </exception>
    public static HybridLanguageModel CreateModel(
        this HybridDesign design, ScalarType compute = ScalarType.Float32, Device? device = null, long? seed = null,
        ScalarType weightType = ScalarType.Float32) =>
        Create(design, compute, device, seed, weightType, factory => new HybridLanguageModel(factory, compute));

    /// <summary>Creates the blocks of a design with new parameters, without embedding and head: vectors in, vectors out.</summary>
    /// <inheritdoc cref="CreateModel"/>
    public static HybridStack CreateStack(this HybridDesign design, ScalarType compute = ScalarType.Float32, Device? device = null, long? seed = null,
        ScalarType weightType = ScalarType.Float32) =>
        Create(design, compute, device, seed, weightType, factory => new HybridStack(factory, compute));

    static T Create<T>(HybridDesign design, ScalarType compute, Device? device, long? seed, ScalarType weightType, Func<ModuleFactory, T> create)
    {
        ArgumentNullException.ThrowIfNull(design);
        StateChecks.ComputeType(compute);
        ModuleChecks.WeightType(weightType);
        design.Check();
        TorchLibrary.EnsureLoaded();
        using var scope = NewDisposeScope();
        long start = seed ?? randint(long.MaxValue, [1], ScalarType.Int64).item<long>();
        using var factory = new ModuleFactory(design, device ?? CPU, start, blank: false, weightType);
        return Finished(factory, create);
    }
}
