using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Implements the collectives of one process.</summary>
sealed class SingleProcess(Device device) : Collectives(0, 1, 0, device)
{
    public override string Library => "one process";

    public override void Barrier() { }

    private protected override Collectives SplitChecked(int group) => new SingleProcess(Device);

    private protected override void AllReduceChecked(Tensor tensor, ReduceOperation operation) { }

    private protected override void ReduceScatterChecked(Tensor output, Tensor input, ReduceOperation operation) => Copy(output, input);

    private protected override void AllGatherChecked(Tensor output, Tensor input) => Copy(output, input);

    private protected override void BroadcastChecked(Tensor tensor, int root) { }

    private protected override void ReduceChecked(Tensor tensor, int root, ReduceOperation operation) { }

    static void Copy(Tensor output, Tensor input)
    {
        using var scope = NewDisposeScope();
        output.copy_(input.view(output.shape));
    }
}
