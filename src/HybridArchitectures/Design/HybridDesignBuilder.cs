
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>
/// Builds a <see cref="HybridDesign"/>: the kinds of blocks (<c>With...</c>), the depth, and the arrangement (<see cref="Ratio(int, int)"/> and
/// <see cref="Place(Placement)"/>, or <see cref="Pattern"/>).
/// </summary>
/// <remarks>
/// A builder is immutable. Every call returns a new builder, so several variants can start from a common one. Sizes that are omitted are derived from
/// the width. Without <see cref="WithFeedForward"/>, blocks consist of their mixers.
/// </remarks>
/// <example>
/// <code>
/// HybridDesignBuilder start = HybridDesign.Create(width: 128, vocabularySize: 256)
///     .WithAttention(heads: 4).WithMamba2(stateSize: 32, headSize: 32).WithFeedForward(FeedForwardSpec.SwiGlu(352));
/// HybridDesign spread = start.Depth(8).Ratio(attention: 1, ssm: 3).Build();
/// HybridDesign byHand = start.Pattern("MMTM", repeat: 2).Build();
/// Console.WriteLine($"{spread.Pattern} and {byHand.Pattern}");
/// </code>
/// </example>
public sealed class HybridDesignBuilder
{
    readonly BuilderState state;

    internal HybridDesignBuilder(int width, int vocabularySize)
    {
        Require.Size(width, nameof(width));
        Require.Size(vocabularySize, nameof(vocabularySize));
        state = new() { Width = width, VocabularySize = vocabularySize };
    }

    HybridDesignBuilder(BuilderState state) => this.state = state;

    /// <summary>
    /// Describes the attention blocks. Sizes that are 0 are derived: the number of query heads for keys and values, a head size of width / heads, and
    /// value heads of the size of key heads.
    /// </summary>
    /// <param name="heads">The number of query heads.</param>
    /// <param name="keyValueHeads">The number of key and value heads, a divisor of <paramref name="heads"/>.</param>
    /// <param name="headSize">The size of a query and key head.</param>
    /// <param name="valueHeadSize">The size of a value head.</param>
    /// <param name="rotary">
    /// The positions. The default, null, means rotary positions with theta 500,000. <see cref="RotarySpec.None"/> means no positions.
    /// </param>
    /// <param name="qkNorm">Whether each query and key head is normalized. The default is false.</param>
    public HybridDesignBuilder WithAttention(int heads, int keyValueHeads = 0, int headSize = 0, int valueHeadSize = 0, RotarySpec? rotary = null,
        bool qkNorm = false) =>
        WithAttention(new()
        {
            Heads = heads,
            KeyValueHeads = keyValueHeads,
            HeadSize = headSize,
            ValueHeadSize = valueHeadSize,
            Rotary = rotary ?? new(),
            QkNorm = qkNorm,
        });

    /// <summary>Describes the attention blocks with all options. If <see cref="AttentionSpec.Rotary"/> is null, they have no positions.</summary>
    public HybridDesignBuilder WithAttention(AttentionSpec attention)
    {
        ArgumentNullException.ThrowIfNull(attention);
        Require.That(
            attention.Window is null, nameof(attention), $"windowed ({attention.Window})", "attention without a window; see WithSlidingWindow");
        return WithMixer(attention);
    }

    /// <summary>Describes the sliding-window blocks. Sizes that are 0 are those of <c>WithAttention</c>.</summary>
    /// <param name="window">The number of tokens that a query sees, including its own.</param>
    /// <param name="sinks">The number of first tokens of a document that remain visible. The default is 0.</param>
    /// <param name="heads">The number of query heads.</param>
    /// <param name="keyValueHeads">The number of key and value heads.</param>
    /// <param name="headSize">The size of a query and key head.</param>
    /// <param name="rotary">
    /// The positions. The default, null, means rotary positions with theta 10,000. <see cref="RotarySpec.None"/> means no positions.
    /// </param>
    public HybridDesignBuilder WithSlidingWindow(
        int window, int sinks = 0, int heads = 0, int keyValueHeads = 0, int headSize = 0, RotarySpec? rotary = null) =>
        WithSlidingWindow(new AttentionSpec
        {
            Heads = heads,
            KeyValueHeads = keyValueHeads,
            HeadSize = headSize,
            Window = window,
            Sinks = sinks,
            Rotary = rotary ?? new() { Theta = 10_000 },
        });

    /// <summary>Describes the sliding-window blocks with all options.</summary>
    public HybridDesignBuilder WithSlidingWindow(AttentionSpec attention)
    {
        ArgumentNullException.ThrowIfNull(attention);
        Require.That(attention.Window is >= 1, "window", attention.Window, "at least 1");
        return WithMixer(attention);
    }

    /// <summary>Describes the Mamba-1 blocks.</summary>
    /// <param name="innerWidth">The number of channels of the scan. The default, 0, means twice the model width.</param>
    /// <param name="stateSize">The number of states per channel. The default, 0, means 16.</param>
    /// <param name="convolutionWidth">The number of tokens that the convolution reads. The default is 4.</param>
    /// <param name="timeStepRank">The width between the two projections of the time steps. The default, 0, means the model width / 16.</param>
    public HybridDesignBuilder WithMamba1(int innerWidth = 0, int stateSize = 0, int convolutionWidth = 4, int timeStepRank = 0) =>
        WithMamba1(new() { InnerWidth = innerWidth, StateSize = stateSize, ConvolutionWidth = convolutionWidth, TimeStepRank = timeStepRank });

    /// <summary>Describes the Mamba-1 blocks with all options.</summary>
    public HybridDesignBuilder WithMamba1(Mamba1Spec mamba1) => WithMixer(mamba1 ?? throw new ArgumentNullException(nameof(mamba1)));

    /// <summary>Describes the Mamba-2 blocks.</summary>
    /// <param name="stateSize">The number of states per channel. The default, 0, means 128.</param>
    /// <param name="headSize">The number of channels of a head. The default, 0, means 64.</param>
    /// <param name="heads">The number of heads. The default, 0, means heads for an inner width of twice the model width.</param>
    /// <param name="groups">The number of groups of heads that share B and C. The default is 1.</param>
    /// <param name="convolutionWidth">The number of tokens that the convolution reads. The default is 4.</param>
    public HybridDesignBuilder WithMamba2(int stateSize = 0, int headSize = 0, int heads = 0, int groups = 1, int convolutionWidth = 4) =>
        WithMamba2(new() { StateSize = stateSize, HeadSize = headSize, Heads = heads, Groups = groups, ConvolutionWidth = convolutionWidth });

    /// <summary>Describes the Mamba-2 blocks with all options.</summary>
    public HybridDesignBuilder WithMamba2(Mamba2Spec mamba2) => WithMixer(mamba2 ?? throw new ArgumentNullException(nameof(mamba2)));

    /// <summary>
    /// Describes the intra-layer hybrid blocks, which contain attention and a state-space layer in parallel. <see cref="IntraHybridSpec"/> explains
    /// how sizes that are 0 are derived. If <see cref="AttentionSpec.Rotary"/> is null, attention has no positions.
    /// </summary>
    /// <param name="attention">The attention branch.</param>
    /// <param name="stateSpace">The state-space branch: Mamba-1 or Mamba-2.</param>
    /// <param name="fusion">How the branches are combined. The default subtracts attention from the state-space branch.</param>
    /// <param name="norm">The norm of each branch before the combination. The default is one RMSNorm without weight per head.</param>
    /// <param name="learnedScale">Whether each branch is multiplied by a learned scale. The default is false.</param>
    /// <param name="output">Whether each branch has an output projection, or both share one. The default is one for each.</param>
    /// <param name="sharedValues">Whether attention uses the x of the state-space branch as its values. The default is false.</param>
    public HybridDesignBuilder WithIntraHybrid(AttentionSpec attention, MixerSpec stateSpace, FusionKind fusion = FusionKind.Difference,
        BranchNorm norm = BranchNorm.Group, bool learnedScale = false, OutputProjection output = OutputProjection.Separate,
        bool sharedValues = false) =>
        WithIntraHybrid(new()
        {
            Attention = attention,
            StateSpace = stateSpace,
            Fusion = fusion,
            Norm = norm,
            LearnedScale = learnedScale,
            Output = output,
            SharedValues = sharedValues,
        });

    /// <summary>Describes the intra-layer hybrid blocks with all options.</summary>
    public HybridDesignBuilder WithIntraHybrid(IntraHybridSpec intraHybrid) =>
        WithMixer(intraHybrid ?? throw new ArgumentNullException(nameof(intraHybrid)));

    /// <summary>
    /// Adds a kind of block by its mixer, custom or built-in. It replaces an earlier mixer with the same <see cref="MixerSpec.Symbol"/>.
    /// </summary>
    /// <param name="mixer">The mixer.</param>
    /// <exception cref="ArgumentException">The letter of the mixer has another meaning in patterns.</exception>
    public HybridDesignBuilder WithMixer(MixerSpec mixer)
    {
        ArgumentNullException.ThrowIfNull(mixer);
        if (mixer is { IsCustom: true }) CheckSymbol(mixer);
        return new(state with { Mixers = [.. state.Mixers.Where(known => known.Symbol != mixer.Symbol), mixer] });
    }

    /// <summary>Sets the feed-forward of every block that does not request another one.</summary>
    public HybridDesignBuilder WithFeedForward(FeedForwardSpec feedForward)
    {
        ArgumentNullException.ThrowIfNull(feedForward);
        return new(state with { FeedForward = feedForward });
    }

    /// <summary>Sets the mixture of experts of the blocks that a pattern marks with <c>e</c>, in addition to the usual feed-forward.</summary>
    public HybridDesignBuilder WithExperts(MixtureOfExpertsSpec experts)
    {
        ArgumentNullException.ThrowIfNull(experts);
        return new(state with { Experts = experts });
    }

    /// <summary>
    /// Adds transformer layers whose weights are shared by several blocks. The blocks that a pattern marks with <c>+</c> use them in turn. Each use
    /// has a separate output projection and separate adapters.
    /// </summary>
    /// <param name="transformer">The layer.</param>
    /// <param name="count">The number of layers. The default is 1.</param>
    /// <param name="attentionAdapterRank">The rank of the adapters of each use on queries, keys and values. The default, 0, means none.</param>
    /// <param name="feedForwardAdapterRank">The rank of the adapter of each use on gate and up. The default, 0, means none.</param>
    public HybridDesignBuilder WithSharedTransformers(
        SharedTransformerSpec transformer, int count = 1, int attentionAdapterRank = 0, int feedForwardAdapterRank = 0)
    {
        ArgumentNullException.ThrowIfNull(transformer);
        Require.That(count is >= 1 and <= HybridDesign.MaxDepth, nameof(count), count, $"1 to {HybridDesign.MaxDepth}");
        return new(state with
        {
            Shared = [.. Enumerable.Repeat(transformer, count)],
            SharedUse = new() { AttentionAdapterRank = attentionAdapterRank, FeedForwardAdapterRank = feedForwardAdapterRank },
        });
    }

    /// <summary>Sets the number of blocks.</summary>
    public HybridDesignBuilder Depth(int blocks)
    {
        Require.That(blocks is >= 1 and <= HybridDesign.MaxDepth, "depth", blocks, $"1 to {HybridDesign.MaxDepth}");
        return new(state with { Depth = blocks });
    }

    /// <summary>
    /// Sets how many blocks have each of two kinds: depth x attention / (attention + ssm) blocks, rounded half up, have the first kind, and the rest
    /// the second.
    /// </summary>
    /// <remarks>
    /// The first kind is attention and the second a state-space layer. Among more than two kinds, attention is the kind of <c>WithAttention</c>, or
    /// the only sliding window or intra-layer hybrid, and ssm is the only Mamba, or the only kind that is not attention. Of two other kinds, the
    /// first is the earlier one in this order: intra-layer hybrid, attention, sliding window, custom mixers, Mamba-1, Mamba-2. 1:0 and 0:1 create a
    /// stack of one kind.
    /// </remarks>
    /// <param name="attention">The share of the first kind, at least 0.</param>
    /// <param name="ssm">The share of the second kind, at least 0.</param>
    public HybridDesignBuilder Ratio(int attention, int ssm) => WithRatio(new(null, attention, null, ssm), nameof(attention), nameof(ssm));

    /// <summary>Sets the ratio between two kinds by their letters in patterns, for example <c>Ratio("m", 1, "M", 3)</c>.</summary>
    public HybridDesignBuilder Ratio(string first, int firstShare, string second, int secondShare)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        Require.That(first != second, nameof(second), second, $"another kind than \"{first}\"");
        return WithRatio(new(first, firstShare, second, secondShare), nameof(firstShare), nameof(secondShare));
    }

    HybridDesignBuilder WithRatio(BuilderRatio ratio, string firstName, string secondName)
    {
        Require.That(ratio.FirstShare is >= 0 and <= Require.MaxSize, firstName, ratio.FirstShare, $"0 to {Require.MaxSize}");
        Require.That(ratio.SecondShare is >= 0 and <= Require.MaxSize, secondName, ratio.SecondShare, $"0 to {Require.MaxSize}");
        Require.That(ratio.FirstShare + ratio.SecondShare > 0, "ratio", "0:0", "a share above 0 on either side");
        return new(state with { Ratio = ratio });
    }

    /// <summary>Sets where the blocks of the first kind of the ratio are placed. The default is <see cref="Placement.Middle"/>.</summary>
    public HybridDesignBuilder Place(Placement placement)
    {
        Require.Defined(placement, nameof(placement));
        return new(state with { Placement = placement, Positions = null });
    }

    /// <summary>Sets the positions of the blocks of the first kind. Without a ratio, the positions also define their number.</summary>
    /// <param name="positions">The positions, counted from 1.</param>
    /// <exception cref="ArgumentException">There is no position, a position is below 1, or a position occurs twice.</exception>
    public HybridDesignBuilder Place(params ReadOnlySpan<int> positions)
    {
        int[] sorted = positions.ToArray();
        Array.Sort(sorted);
        Require.That(sorted.Length > 0, nameof(positions), "empty", "at least one position");
        Require.That(sorted[0] >= 1, nameof(positions), sorted[0], "positions from 1 on");
        for (int i = 1; i < sorted.Length; i++)
            Require.That(sorted[i] != sorted[i - 1], nameof(positions), $"{sorted[i]} twice", "each position once");
        return new(state with { Positions = sorted.ToEquatableList(), Placement = null });
    }

    /// <summary>Lists the blocks one by one, instead of a ratio and a placement.</summary>
    /// <param name="pattern">The blocks in the notation of <see cref="BlockPattern"/>.</param>
    /// <param name="repeat">How often the pattern is repeated. The default is 1.</param>
    public HybridDesignBuilder Pattern(string pattern, int repeat = 1)
    {
        var blocks = BlockPattern.Parse(pattern);
        Require.That(repeat >= 1 && (long)repeat * blocks.Count <= HybridDesign.MaxDepth, nameof(repeat), repeat,
            $"at least 1, and at most {HybridDesign.MaxDepth} blocks in all");
        return new(state with { Pattern = Enumerable.Repeat(blocks, repeat).SelectMany(block => block).ToEquatableList() });
    }

    /// <summary>
    /// Lists the blocks one by one, from another notation (<see cref="MegatronPattern"/>, <see cref="PeriodPattern"/>,
    /// <see cref="AttentionIndices"/>, <see cref="LayerTypes"/>, <see cref="RepeatedPattern"/>), instead of a ratio and a placement.
    /// </summary>
    /// <param name="blocks">The blocks, in order.</param>
    public HybridDesignBuilder Blocks(IEnumerable<PatternBlock> blocks) => Pattern(string.Concat(Require.EachItem(blocks)));

    /// <summary>
    /// Replaces the mixer of every block of full attention (<c>T</c>) by another, for example by a short convolution or by linear attention. Sliding
    /// windows stay.
    /// </summary>
    /// <param name="mixer">The mixer of these blocks. Sizes that are 0 are derived.</param>
    public HybridDesignBuilder ReplaceAttention(MixerSpec mixer)
    {
        ArgumentNullException.ThrowIfNull(mixer);
        return new(state with { Changes = [.. state.Changes, old => old is AttentionSpec { Window: null } ? mixer : old] });
    }

    /// <summary>
    /// Removes the rotary positions of full, latent and differential attention, alone or inside an intra-layer hybrid (NoPE). Sliding windows keep
    /// theirs. The recurrent blocks of a hybrid know the order of tokens.
    /// </summary>
    public HybridDesignBuilder WithoutPositions() => new(state with { Changes = [.. state.Changes, mixer => mixer.WithoutPositions()] });

    /// <summary>Changes one block, for example <c>Override(1, block =&gt; block with { FeedForward = ... })</c>.</summary>
    /// <param name="position">The position of the block, counted from 1.</param>
    /// <param name="change">
    /// Returns the changed block. It receives the block with all sizes derived. Overrides apply in the order of the calls.
    /// </param>
    public HybridDesignBuilder Override(int position, Func<BlockSpec, BlockSpec> change)
    {
        ArgumentNullException.ThrowIfNull(change);
        Require.AtLeast(position, 1, nameof(position));
        return new(state with { Overrides = [.. state.Overrides, (position, change)] });
    }

    /// <summary>Sets whether the head is the transposed embedding. The default is true.</summary>
    public HybridDesignBuilder TiedHead(bool tied) => new(state with { TiedHead = tied });

    /// <summary>Sets the name of the design.</summary>
    public HybridDesignBuilder Name(string? name) => new(state with { Name = name });

    /// <summary>Sets the epsilon of all norms of blocks and of the last norm.</summary>
    public HybridDesignBuilder NormEpsilon(double epsilon)
    {
        Require.Positive(epsilon, nameof(epsilon));
        return new(state with { NormEpsilon = epsilon });
    }

    /// <summary>Sets how the weights are initialised.</summary>
    public HybridDesignBuilder WithInitialisation(InitialisationSpec initialisation)
    {
        ArgumentNullException.ThrowIfNull(initialisation);
        initialisation.Check();
        return new(state with { Initialisation = initialisation });
    }

    /// <summary>Creates the design with all sizes derived.</summary>
    /// <exception cref="ArgumentException">
    /// The design is not possible. The message contains the argument, its value, and what was expected.
    /// </exception>
    public HybridDesign Build()
    {
        var design = Draft();
        design.Check();
        return design;
    }

    /// <summary>Returns the design with all sizes filled in, but not checked.</summary>
    internal HybridDesign Draft()
    {
        var design = new HybridDesign
        {
            Name = state.Name,
            VocabularySize = state.VocabularySize,
            Width = state.Width,
            TiedHead = state.TiedHead,
            NormEpsilon = state.NormEpsilon,
            Initialisation = state.Initialisation,
            SharedTransformers = state.Shared,
            Blocks = new BlockArrangement(state).Blocks(),
        }.Fill();
        foreach (var change in state.Changes)
        {
            var blocks = design.Blocks.Select(block => block.Mixer is { } mixer ? block with { Mixer = change(mixer) } : block);
            design = (design with { Blocks = [.. blocks] }).Fill();
        }
        foreach (var (position, change) in state.Overrides)
        {
            Require.That(position <= design.Depth, nameof(position), position, $"1 to depth = {design.Depth}");
            var changed = change(design.Blocks[position - 1]) ?? throw Require.Refusal(nameof(change), null, $"a block for position {position}");
            design = design with { Blocks = design.Blocks.With(position - 1, changed) };
        }
        design = design.Fill();
        return design with { Blocks = FirstValues.WithoutRankInFirst(design.Blocks) };
    }

    internal static void CheckSymbol(MixerSpec mixer) =>
        Require.That(
            BlockPattern.IsFreeSymbol(mixer.Symbol), "symbol", mixer.Symbol,
            $"one letter that has no other meaning in patterns (not {string.Join(", ", BlockPattern.Letters.AsEnumerable())}, e)");
}
