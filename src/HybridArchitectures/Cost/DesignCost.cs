using HybridArchitectures.Design;
using TorchSharp;

namespace HybridArchitectures.Cost;

/// <summary>Contains the cost of a design for sequences of one length.</summary>
/// <param name="Design">The design whose cost is counted.</param>
/// <param name="SequenceLength">The sequence length in tokens.</param>
/// <example>
/// <code>
/// DesignCost cost = Recipes.Get("1B-inter-1:5").Design.Cost(sequenceLength: 8192);
/// Console.WriteLine(cost);
/// Console.WriteLine($"{cost.Flops().Training:g4} FLOPs per token in training, {cost.Cache(batch: 4).Total:N0} bytes of cache for 4 rows");
/// Console.WriteLine($"{cost.Decode(Accelerator.Get("H200")).Seconds * 1000:0.00} ms per decoding step at least");
/// </code>
/// </example>
public sealed record DesignCost(HybridDesign Design, int SequenceLength)
{
    /// <summary>Gets the trainable parameters.</summary>
    public ParameterCount Parameters { get; } = ParameterCount.FromDesign(Design);

    /// <summary>Returns the FLOPs per token in training and prefill.</summary>
    public FlopCount Flops(FlopAccounting accounting = FlopAccounting.Paper) => FlopCount.OfText(Design, SequenceLength, accounting);

    /// <summary>Returns the FLOPs of the decoding step at position <see cref="SequenceLength"/>.</summary>
    public FlopCount StepFlops(FlopAccounting accounting = FlopAccounting.Paper) => FlopCount.OfStep(Design, SequenceLength, accounting);

    /// <summary>Returns the size of a cache after a sequence.</summary>
    /// <inheritdoc cref="CacheSize.FromDesign(HybridDesign, long, long, int, int?)"/>
    public CacheSize Cache(long batch = 1, int elementSize = 2, int? stateSize = null) =>
        CacheSize.FromDesign(Design, SequenceLength, batch, elementSize, stateSize);

    /// <summary>Returns the memory of training.</summary>
    /// <inheritdoc cref="Cost.TrainingMemory.FromDesign"/>
    public TrainingMemory TrainingMemory(long batch = 1, int elementSize = 2, bool checkpointing = false, DeviceType device = DeviceType.CUDA,
        int savedBlocks = 0) =>
        Cost.TrainingMemory.FromDesign(Design, SequenceLength, batch, elementSize, checkpointing, device, savedBlocks: savedBlocks);

    /// <summary>Returns the bytes and the minimum time of the decoding step at position <see cref="SequenceLength"/>.</summary>
    /// <inheritdoc cref="DecodeCost.FromDesign"/>
    public DecodeCost Decode(Accelerator accelerator, long batch = 1, int elementSize = 2, int? stateSize = null) =>
        DecodeCost.FromDesign(Design, SequenceLength, accelerator, batch, elementSize, stateSize);

    /// <summary>Returns the bytes and time with which ranks sum the gradients of a training step, and the efficiency.</summary>
    /// <inheritdoc cref="CommunicationCost.FromDesign"/>
    public CommunicationCost Communication(int ranks, Interconnect link, long tokensPerRank, double flopsPerSecond = 5.3e14) =>
        CommunicationCost.FromDesign(Design, SequenceLength, ranks, link, tokensPerRank, flopsPerSecond);

    /// <summary>Returns the bytes and time of the communication of a training step with fully sharded parameters, and the efficiency.</summary>
    /// <inheritdoc cref="CommunicationCost.FullySharded"/>
    public CommunicationCost FullyShardedCommunication(
        int ranks, Interconnect link, long tokensPerRank, int passes = 1, double flopsPerSecond = 5.3e14) =>
        CommunicationCost.FullySharded(Design, SequenceLength, ranks, link, tokensPerRank, passes, flopsPerSecond);

    /// <summary>
    /// Returns the bytes and time of the communication of a training step with parameters that are fully sharded within every machine, and the
    /// efficiency.
    /// </summary>
    /// <inheritdoc cref="CommunicationCost.Hybrid"/>
    public CommunicationCost HybridCommunication(int machines, int ranksPerMachine, Interconnect within, Interconnect between, long tokensPerRank,
        int passes = 1, double flopsPerSecond = 5.3e14) => CommunicationCost.Hybrid(
        Design, SequenceLength, machines, ranksPerMachine, within, between, tokensPerRank, passes, flopsPerSecond);

    /// <summary>Returns the number of tokens that a budget of training FLOPs allows.</summary>
    public double Tokens(double trainingFlops, FlopAccounting accounting = FlopAccounting.Paper) => trainingFlops / Flops(accounting).Training;

    /// <summary>Returns five lines: parameters, FLOPs without and with the head, cache, and training memory.</summary>
    public override string ToString()
    {
        var (paper, products, cache, memory) = (Flops(), Flops(FlopAccounting.MatrixProducts), Cache(), TrainingMemory());
        string decode = FormattableString.Invariant($"{Units.Flops(StepFlops().Forward)} decode at {SequenceLength:N0} tokens");
        return FormattableString.Invariant($"""
            parameters       {Parameters}
            FLOPs per token  {Units.Flops(paper.Training)} training, {Units.Flops(paper.Forward)} prefill, {decode}
            with head        {Units.Flops(products.Training)} training, matrix products alone
            cache, bfloat16  {Units.Bytes(cache.Total)} per row at {SequenceLength:N0} tokens ({cache.Kinds})
            training memory  {Units.Bytes(memory.Total)} for one row in bfloat16 (activations, estimated, {Units.Bytes(memory.Activations)})
            """);
    }
}
