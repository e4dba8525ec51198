using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>From a design to a model.</summary>
public static class HybridDesignModels
{
    /// <summary>A model whose every parameter the caller fills.</summary>
    internal static HybridLanguageModel CreateBlankModel(this HybridDesign design, ScalarType compute, Device device, ScalarType weightType = ScalarType.Float32)
    {
        ModuleChecks.ComputeType(compute);
        ModuleChecks.WeightType(weightType);
        TorchLibrary.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(design, device, seed: 0, blank: true, weightType);
        return Finished(factory, made => new HybridLanguageModel(made, compute));
    }

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

    /// <summary>A model with fresh parameters.</summary>
    /// <param name="design">What to build.</param>
    /// <param name="compute">The type of activations: float32 or bfloat16 (float64 to check against). </param>
    /// <param name="device">Where it lives; null for the CPU.</param>
    /// <param name="seed">Seed of the initial values: the same on every device. Null for one of torch's current generator.</param>
    /// <param name="weightType">
    /// The type in which weights of projections are held. The default, float32, is needed for training: weights are cast to the type of activations
    /// at each use. bfloat16 halves the memory, and the bytes that each step reads; the model is then not trainable, except for low-rank adapters.
    /// Parameters that enter the arithmetic in float32 keep that type: norms, convolutions, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>, routers.
    /// </param>
    /// <exception cref="ArgumentException">No model can be made of the design, or the device is a GPU that this program or machine does not have; the message says what to install.</exception>
    /// <exception cref="InvalidOperationException">A custom mixer's <see cref="MixerSpec.CountParameters"/> is not the number of its module's parameters.</exception>
    public static HybridLanguageModel CreateModel(this HybridDesign design, ScalarType compute = ScalarType.Float32, Device? device = null, long? seed = null,
        ScalarType weightType = ScalarType.Float32) =>
        Create(design, compute, device, seed, weightType, factory => new HybridLanguageModel(factory, compute));

    /// <summary>The blocks of a design without embedding and head, with fresh parameters: vectors in, vectors out.</summary>
    /// <inheritdoc cref="CreateModel"/>
    public static HybridStack CreateStack(this HybridDesign design, ScalarType compute = ScalarType.Float32, Device? device = null, long? seed = null,
        ScalarType weightType = ScalarType.Float32) =>
        Create(design, compute, device, seed, weightType, factory => new HybridStack(factory, compute));

    static T Create<T>(HybridDesign design, ScalarType compute, Device? device, long? seed, ScalarType weightType, Func<ModuleFactory, T> create)
    {
        ArgumentNullException.ThrowIfNull(design);
        ModuleChecks.ComputeType(compute);
        ModuleChecks.WeightType(weightType);
        design.Check();
        TorchLibrary.EnsureLoaded();
        using var scope = NewDisposeScope();
        long start = seed ?? randint(long.MaxValue, [1], ScalarType.Int64).item<long>();
        using var factory = new ModuleFactory(design, device ?? CPU, start, blank: false, weightType);
        return Finished(factory, create);
    }
}
