using HybridArchitectures.Design;
using HybridArchitectures.Modules;

namespace HybridArchitectures.Adapters;

/// <summary>Contains the options of low-rank adapters (arXiv 2106.09685).</summary>
public sealed record LoraOptions
{
    /// <summary>Gets or sets the rank, which is the inner dimension of the two matrices of an adapter, 1 to 1,048,576. The default is 8.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>Gets or sets alpha. The output of an adapter is multiplied by alpha / <see cref="Rank"/>. The default is 16.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>
    /// Gets or sets the share of the inputs of an adapter that are set to 0 while the model is in training mode, in which it starts
    /// (<c>model.eval()</c> ends it), in [0, 1). The default is 0. The head has no dropout, because its adapter changes its weight.
    /// </summary>
    public double Dropout { get; init; }

    /// <summary>Gets or sets which projections get an adapter. The default is <see cref="LoraTargets.Blocks"/>.</summary>
    public LoraTargets Targets { get; init => field = Require.Defined(value, nameof(Targets)); } = LoraTargets.Blocks;

    /// <summary>
    /// Gets or sets a filter: of the targets, only weights whose name in <see cref="Models.HybridLanguageModel.State"/> satisfies it get an adapter.
    /// The default, null, means all.
    /// </summary>
    public Func<string, bool>? Only { get; init; }

    /// <summary>
    /// Gets or sets the seed of the initial values and of dropout. A trainer restarts dropout with the seed of its run. The default is 0.
    /// </summary>
    public long Seed { get; init; }

    /// <summary>
    /// Gets or sets the weights whose adapter has another rank and alpha than <see cref="Rank"/> and <see cref="Alpha"/>, as in files of other
    /// libraries. The default is empty.
    /// </summary>
    internal EquatableList<(string Weight, LoraSize Size)> Sizes { get; init; } = [];

    internal LoraSize SizeOf(string weight)
    {
        foreach (var (name, size) in Sizes)
            if (name == weight) return size;
        return new(Rank, Alpha);
    }

    /// <summary>Returns rank, alpha, dropout and targets as text.</summary>
    public override string ToString()
    {
        string only = Only is null ? "" : ", only some weights";
        string sizes = Sizes.Count == 0 ? "" : $", {Sizes.Count} weights with another rank or alpha";
        return FormattableString.Invariant($"rank {Rank}, alpha {Alpha}, dropout {Dropout}, targets {Targets}{only}{sizes}");
    }

    internal void Check(string name)
    {
        Require.Size(Rank, $"{name}.Rank");
        if (!double.IsFinite(Alpha)) throw Require.Unfit(name, $"{name}.Alpha is {Alpha}", "a number");
        if (!(Dropout is >= 0 and < 1)) throw Require.Unfit(name, $"{name}.Dropout is {Dropout}", "from 0 to below 1");
    }
}
