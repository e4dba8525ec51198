using HybridArchitectures.Design;
using TorchSharp;

namespace HybridArchitectures.Cost;

/// <summary>What a design costs for texts of one length.</summary>
/// <param name="Design">The design.</param>
/// <param name="SequenceLength">Tokens of a text.</param>
public sealed record DesignCost(HybridDesign Design, int SequenceLength)
{
    /// <summary>Trainable parameters.</summary>
    public ParameterCount Parameters { get; } = ParameterCount.FromDesign(Design);

    /// <summary>Operations per token in training and prefill.</summary>
    public FlopCount Flops(FlopAccounting accounting = FlopAccounting.Paper) => FlopCount.OfText(Design, SequenceLength, accounting);

    /// <summary>Operations of the step at <see cref="SequenceLength"/>.</summary>
    public FlopCount StepFlops(FlopAccounting accounting = FlopAccounting.Paper) => FlopCount.OfStep(Design, SequenceLength, accounting);

    /// <summary>Bytes of a cache after a text.</summary>
    public CacheSize Cache(long batch = 1, int elementSize = 2) => CacheSize.FromDesign(Design, SequenceLength, batch, elementSize);

    /// <summary>Bytes that training holds.</summary>
    public TrainingMemory TrainingMemory(long batch = 1, int elementSize = 2, bool checkpointing = false, DeviceType device = DeviceType.CUDA) =>
        Cost.TrainingMemory.FromDesign(Design, SequenceLength, batch, elementSize, checkpointing, device);

    /// <summary>Bytes and least time of the step at <see cref="SequenceLength"/>.</summary>
    public DecodeCost Decode(Accelerator accelerator, long batch = 1, int elementSize = 2) => DecodeCost.FromDesign(Design, SequenceLength, accelerator, batch, elementSize);

    /// <summary>Tokens for which a budget of training operations is enough.</summary>
    public double Tokens(double trainingFlops, FlopAccounting accounting = FlopAccounting.Paper) => trainingFlops / Flops(accounting).Training;

    /// <summary>Five lines: parameters, operations without and with the head, cache, training memory.</summary>
    public override string ToString()
    {
        var (paper, products, cache, memory) = (Flops(), Flops(FlopAccounting.MatrixProducts), Cache(), TrainingMemory());
        return FormattableString.Invariant($"""
            parameters       {Parameters}
            FLOPs per token  {Units.Flops(paper.Training)} training, {Units.Flops(paper.Forward)} prefill, {Units.Flops(StepFlops().Forward)} decode at {SequenceLength:N0} tokens
            with head        {Units.Flops(products.Training)} training, matrix products alone
            cache, bfloat16  {Units.Bytes(cache.Total)} per row at {SequenceLength:N0} tokens ({cache.Kinds})
            training memory  {Units.Bytes(memory.Total)} for one row in bfloat16 (activations, estimated, {Units.Bytes(memory.Activations)})
            """);
    }
}
