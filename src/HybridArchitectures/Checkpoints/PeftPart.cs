using HybridArchitectures.Adapters;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Describes a weight, or the slice of one expert.</summary>
sealed record PeftPart(LoraSite Site, int? Expert)
{
    public long Outputs => Site.Weight.size(-2);

    /// <summary>Returns the matrices of the adapter, shapes (rank, inputs) and (outputs, rank), as views.</summary>
    public (Tensor Down, Tensor Up) Matrices()
    {
        var adapter = Site.Adapter!;
        return Expert is { } expert ? (adapter.Down.select(0, expert), adapter.Up.select(0, expert)) : (adapter.Down.alias(), adapter.Up.alias());
    }
}
