using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using TorchSharp;

namespace HybridArchitectures.Cost;

/// <summary>Contains the bytes that training with AdamW needs at the end of a forward pass.</summary>
/// <remarks>
/// The gradients of all parameters are included. Parameters, gradients and optimizer are exact (float32, two moments). Activations are an estimate of
/// the tensors that the layers save for backward, each counted once. The working memory of kernels and the reserve of the allocator are not included.
/// </remarks>
/// <param name="Parameters">The bytes of parameters, 4 each.</param>
/// <param name="Gradients">
/// The bytes of gradients, 4 per parameter; 2 per parameter of routed experts in bfloat16 on CUDA, for steps of one pass on one rank
/// (<see cref="WithSummedGradients"/>).
/// </param>
/// <param name="Optimizer">The bytes of the optimizer, 8 per parameter.</param>
/// <param name="WeightCopies">
/// The bytes of weights in the dtype of the activations. In bfloat16 on CUDA, the optimizer keeps them from step to step for all blocks and the head,
/// except with checkpointing. Others are saved from a product to its backward pass. 0 for float32.
/// </param>
/// <param name="Loss">
/// The bytes that the loss needs between its forward and backward pass: the gradients of the head (float32) and of the output of the last norm. The
/// part of the logits in memory (<see cref="Kernels.OperatorOptions.LogitsShare"/>) is working memory.
/// </param>
/// <param name="Activations">The estimated bytes of activations.</param>
public sealed record TrainingMemory(long Parameters, long Gradients, long Optimizer, long WeightCopies, long Loss, long Activations)
{
    /// <summary>Gets the bytes of <see cref="WeightCopies"/> that stay from step to step.</summary>
    internal long KeptCopies { get; init; }

    /// <summary>Gets weight copies and activations if the optimizer keeps no copies, so that each pass casts all weights.</summary>
    internal (long WeightCopies, long Activations) WithoutKeptCopies { get; init; }

    /// <summary>Gets the further activations of blocks that are not computed again if gradients exist before the backward pass.</summary>
    internal long EarlyActivations { get; init; }

    /// <summary>Gets the bytes of gradients in float32 that are not counted because the gradients are in bfloat16.</summary>
    internal long NarrowGradients { get; init; }

    /// <summary>Gets the sum.</summary>
    public long Total => Parameters + Gradients + Optimizer + WeightCopies + Loss + Activations;

    /// <summary>Returns the memory of steps whose gradients are summed over several passes or ranks, in float32.</summary>
    public TrainingMemory WithSummedGradients() => this with
    {
        Gradients = Gradients + NarrowGradients, NarrowGradients = 0, Activations = Activations + EarlyActivations, EarlyActivations = 0,
    };

    /// <summary>Returns the memory of each rank if the state of the optimizer is divided over ranks.</summary>
    /// <param name="ranks">The number of ranks, at least 1.</param>
    public TrainingMemory WithShardedOptimizer(int ranks)
    {
        Require.AtLeast(ranks, 1, nameof(ranks));
        return WithSummedGradients() with { Optimizer = Divided(Optimizer, ranks) };
    }

    /// <summary>
    /// Returns the memory of each rank if parameters, gradients and the state of the optimizer are divided over ranks: its shares, the gathered
    /// parameters and gradients of the two largest blocks, and those outside of blocks. The optimizer has no whole weights of which it could keep
    /// copies, so each pass casts the weights of the blocks and saves them until their backward pass.
    /// </summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="ranks">The number of ranks over which the parameters are divided, at least 1.</param>
    public TrainingMemory WithFullSharding(HybridDesign design, int ranks)
    {
        Require.AtLeast(ranks, 1);
        var count = ParameterCount.FromDesign(design);
        long blocks = count.Blocks.Sum(block => block.Total);
        long gatheredBlocks = count.Blocks.Select(block => block.Total).OrderDescending().Take(2).Sum();
        long gathered = Math.Min(4 * (count.Total - blocks + gatheredBlocks), 4 * count.Total);
        var summed = WithSummedGradients();
        return summed with
        {
            Parameters = Divided(Parameters, ranks) + gathered, Gradients = Divided(summed.Gradients, ranks) + gathered,
            Optimizer = Divided(Optimizer, ranks), WeightCopies = WithoutKeptCopies.WeightCopies, Activations = WithoutKeptCopies.Activations,
        };
    }

    static long Divided(long bytes, int ranks) => (bytes + ranks - 1) / ranks;

    /// <summary>Returns the sum and the parts as text, in readable units.</summary>
    public override string ToString() =>
        $"{Units.Bytes(Total)} (parameters {Units.Bytes(Parameters)}, gradients {Units.Bytes(Gradients)}, optimizer {Units.Bytes(Optimizer)}, "
        + $"weight copies {Units.Bytes(WeightCopies)}, loss {Units.Bytes(Loss)}, activations {Units.Bytes(Activations)})";

    /// <summary>Returns the memory for one batch of sequences.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="length">The context length in tokens.</param>
    /// <param name="batch">The number of rows. The default is 1.</param>
    /// <param name="elementSize">The bytes per activation: 2 (the default) for bfloat16, 4 for float32.</param>
    /// <param name="checkpointing">
    /// Whether blocks save only their input and are computed again in the backward pass, one at a time. The default is false.
    /// </param>
    /// <param name="device">CUDA (the default) or CPU. It decides how many states scans save.</param>
    /// <param name="gpu">The limits of the GPU, which decide the length of chunks. The default, null, means <see cref="GpuLimits.H100"/>.</param>
    /// <param name="savedBlocks">
    /// With checkpointing, the number of last blocks that save their activations all the same. The default is 0. Up to
    /// <see cref="CountFreeBlocks"/>, they do not change the sum.
    /// </param>
    /// <exception cref="ArgumentException">A number is out of range, or a model of the design is not possible.</exception>
    public static TrainingMemory FromDesign(HybridDesign design, long length, long batch = 1, int elementSize = 2, bool checkpointing = false,
        DeviceType device = DeviceType.CUDA, GpuLimits? gpu = null, int savedBlocks = 0)
    {
        var step = StepOf(design, length, batch, elementSize, device, gpu);
        Require.InRange(savedBlocks >= 0 && savedBlocks <= design.Blocks.Count, nameof(savedBlocks), savedBlocks,
            $"0 to {design.Blocks.Count} blocks");
        var count = ParameterCount.FromDesign(design);
        double tokens = (double)length * batch, input = (double)design.Width * elementSize;
        var blocks = OfBlocks(design, step, checkpointing);
        var cast = CastWeights(design, count, elementSize);
        bool isMixed = elementSize == 2 && device == DeviceType.CUDA, keeps = isMixed && !checkpointing;
        long head = count.Head > 0 ? count.Head : count.Embedding;
        double[] castWithKept = keeps ? new double[cast.Length] : cast;
        double kept = keeps ? cast.Sum() + elementSize * head : 0;
        // the output of the embedding is the input of its norm or of the first block; then the input and output of the last norm
        double outer = (design.EmbeddingNorm ? 3 : 2) * input * tokens;
        (double Copies, double Activations) Saved(double[] copies)
        {
            if (!checkpointing) return (copies.Sum(), outer + blocks.Sum());
            // when a block has been computed again, the inputs of the blocks before it are still saved
            int worst = Enumerable.Range(0, blocks.Length).MaxBy(i => (i + 1) * input * tokens + blocks[i] + copies[i]);
            return (copies[worst], outer + (worst + 1) * input * tokens + blocks[worst]);
        }
        var (copies, activations) = Saved(castWithKept);
        var (allCopies, otherActivations) = Saved(cast);
        long parameters = 4 * count.Total;
        double loss = 4 * head + input * tokens;
        long narrow = isMixed ? 2 * design.Blocks.Sum(block => NarrowWeights(block.FeedForward, design.Width)) : 0;
        var (further, early) = checkpointing ? ActivationsOfSaved(design, step, savedBlocks) : (0, 0);
        return new(parameters, parameters - narrow, 2 * parameters, (long)(kept + copies), (long)loss, (long)activations + further)
        {
            KeptCopies = (long)kept, NarrowGradients = narrow, WithoutKeptCopies = ((long)allCopies, (long)otherActivations + further),
            EarlyActivations = early,
        };
    }

    // what blocks that are not computed again add to the peak, and further if gradients exist before the backward pass
    static (long Further, long Early) ActivationsOfSaved(HybridDesign design, TrainingStepShape step, int savedBlocks)
    {
        var peaks = Checkpointed(design, step);
        long Added(bool summed) => (long)(peaks.Peak(savedBlocks, summed) - peaks.Peak(0, summed));
        return (Added(false), Added(true) - Added(false));
    }

    /// <summary>
    /// Returns how many of the last blocks can save their activations although blocks are computed again (checkpointing), without more memory at the
    /// peak: their activations are where the gradients of the other blocks will be.
    /// </summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="length">The context length in tokens.</param>
    /// <param name="batch">The number of rows. The default is 1.</param>
    /// <param name="elementSize">The bytes per activation: 2 (the default) for bfloat16, 4 for float32.</param>
    /// <param name="device">CUDA (the default) or CPU.</param>
    /// <param name="gpu">The limits of the GPU, which decide the length of chunks. The default, null, means <see cref="GpuLimits.H100"/>.</param>
    /// <param name="summed">
    /// Whether gradients exist before the backward pass, because a step has several passes. Then few or no blocks can. The default is false.
    /// </param>
    /// <exception cref="ArgumentException">A number is out of range, or a model of the design is not possible.</exception>
    public static int CountFreeBlocks(HybridDesign design, long length, long batch = 1, int elementSize = 2, DeviceType device = DeviceType.CUDA,
        GpuLimits? gpu = null, bool summed = false) =>
        Checkpointed(design, StepOf(design, length, batch, elementSize, device, gpu)).MaxSaving(summed);

    static TrainingStepShape StepOf(HybridDesign design, long length, long batch, int elementSize, DeviceType device, GpuLimits? gpu)
    {
        ArgumentNullException.ThrowIfNull(design);
        Require.AtLeast(length, 1, nameof(length));
        Require.AtLeast(batch, 1, nameof(batch));
        Require.That(elementSize is 2 or 4 or 8, nameof(elementSize), elementSize, "2, 4 or 8 bytes");
        Require.That(device is DeviceType.CPU or DeviceType.CUDA, nameof(device), device, "CPU or CUDA");
        return new(elementSize, length, batch, device == DeviceType.CUDA ? gpu ?? GpuLimits.H100 : null);
    }

    static CheckpointMemory Checkpointed(HybridDesign design, TrainingStepShape step)
    {
        var count = ParameterCount.FromDesign(design);
        var cast = CastWeights(design, count, step.ElementSize);
        double Sum(double bytes, double copies) => bytes + copies;
        long head = count.Head > 0 ? count.Head : count.Embedding;
        var options = OperatorOptions.Current;
        double logits = step.Tokens * (double)design.VocabularySize;
        logits = Math.Min(logits, Math.Max(logits * options.LogitsShare, options.Thresholds.MinLogits));
        double loss = step.ElementSize * (logits + (step.ElementSize == 4 ? 0 : head));
        return new((double)design.Width * step.ElementSize * step.Tokens, [.. OfBlocks(design, step, true).Zip(cast, Sum)],
            [.. OfBlocks(design, step, false).Zip(cast, Sum)],
            [.. design.Blocks.Zip(count.Blocks, (block, of) => 4.0 * of.Total - 2 * NarrowWeights(block.FeedForward, design.Width))], loss);
    }

    // the bytes of the weights of each block in the dtype of the activations
    static double[] CastWeights(HybridDesign design, ParameterCount count, int elementSize) =>
    [
        .. design.Blocks.Zip(count.Blocks, (block, parameters) => elementSize == 4 ? 0.0 : elementSize * (parameters.Total
            + (block.Shared is { } use ? design.SharedTransformers[use.Transformer].CountParameters(design.Width) : 0))),
    ];

    // the bytes that each block saves; one that is computed again does not save the states between chunks
    static double[] OfBlocks(HybridDesign design, TrainingStepShape step, bool checkpointing)
    {
        var given = OperatorOptions.Current;
        using var options = OperatorOptions.Use(given with { SaveChunkStates = given.SaveChunkStates && !checkpointing });
        var saved = new SavedActivations(step);
        return [.. design.Blocks.Select(block => saved.Bytes(design, block))];
    }

    // weights whose gradients stay in bfloat16 until the optimizer reads them
    static long NarrowWeights(FeedForwardSpec? feedForward, int width)
    {
        const int alignment = 8;        // elements, of the products of experts in libtorch
        if (feedForward is not MixtureOfExpertsSpec spec) return 0;
        return spec.InnerSpace(width) % alignment == 0 && spec.ExpertWidth % alignment == 0 ? spec.Experts * spec.ExpertParameters(width) : 0;
    }
}
