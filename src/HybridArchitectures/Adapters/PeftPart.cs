using static TorchSharp.torch;

namespace HybridArchitectures.Adapters;

/// <summary>A weight, or one expert's slice of it.</summary>
sealed record PeftPart(LoraSite Site, int? Expert)
{
    public long Outputs => Site.Weight.size(-2);

    /// <summary>The adapter's matrices (rank, inputs) and (outputs, rank), as views.</summary>
    public (Tensor Down, Tensor Up) Matrices()
    {
        var adapter = Site.Adapter!;
        return Expert is { } expert ? (adapter.Down.select(0, expert), adapter.Up.select(0, expert)) : (adapter.Down.alias(), adapter.Up.alias());
    }
}
