using HybridArchitectures.Design;

namespace HybridArchitectures.Adapters;

/// <summary>What low-rank adapters are to be (arXiv 2106.09685).</summary>
public sealed record LoraOptions
{
    /// <summary>Channels between the two matrices of an adapter, at least 1.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>What an adapter adds is multiplied by this over <see cref="Rank"/>.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>Share of an adapter's inputs set to 0 while training, in [0, 1); the head, whose adapter works on its weight, has none.</summary>
    public double Dropout { get; init; }

    /// <summary>Which projections get one.</summary>
    public LoraTargets Targets { get; init; } = LoraTargets.Blocks;

    /// <summary>
    /// Of these projections, only weights whose name in <see cref="Models.HybridLanguageModel.State"/> satisfies this; null for all.
    /// </summary>
    public Func<string, bool>? Only { get; init; }

    /// <summary>
    /// Gets or sets the seed of the initial values and of dropout; a trainer gives dropout the seed of its run. The default value is 0.
    /// </summary>
    public long Seed { get; init; }

    /// <summary>
    /// Weights whose adapter has another rank and scale than <see cref="Rank"/> and <see cref="Alpha"/>, as in files of other libraries.
    /// </summary>
    internal EquatableList<(string Weight, LoraSize Size)> Sizes { get; init; } = [];

    internal LoraSize SizeOf(string weight)
    {
        foreach (var (name, size) in Sizes)
            if (name == weight) return size;
        return new(Rank, Alpha);
    }

    /// <summary>Rank, alpha, dropout and targets.</summary>
    public override string ToString() => FormattableString.Invariant(
        $"rank {Rank}, alpha {Alpha}, dropout {Dropout}, targets {Targets}{(Only is null ? "" : ", only some weights")}{(Sizes.Count == 0 ? "" : $", {Sizes.Count} weights with another rank or alpha")}");

    internal void Check(string name)
    {
        if (Rank < 1) throw new ArgumentException($"{name}.Rank is {Rank}; expected at least 1", name);
        if (!double.IsFinite(Alpha)) throw new ArgumentException($"{name}.Alpha is {Alpha}; expected a number", name);
        if (!(Dropout is >= 0 and < 1)) throw new ArgumentException($"{name}.Dropout is {Dropout}; expected from 0 to below 1", name);
    }
}
