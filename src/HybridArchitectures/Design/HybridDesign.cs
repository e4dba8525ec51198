using System.Text.Json.Serialization;
using HybridArchitectures.Cost;

namespace HybridArchitectures.Design;

/// <summary>
/// A language model written down: vocabulary, width, blocks in order, head. An immutable value, equal to another when all it says is equal, from which model, cost
/// and files are derived. Made by <see cref="Create"/>, or from JSON; a design made by object initialiser becomes complete by <see cref="Resolve"/>.
/// </summary>
[JsonConverter(typeof(HybridDesignConverter))]
public sealed partial record HybridDesign
{
    internal const int MaxDepth = 4096;

    /// <summary>A name, if it has one.</summary>
    public string? Name { get; init; }

    /// <summary>Entries of the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int Width { get; init; }

    /// <summary>The blocks, first to last.</summary>
    public required EquatableList<BlockSpec> Blocks { get; init; }

    /// <summary>Transformer layers whose weights are kept once and used by any number of blocks, see <see cref="BlockSpec.Shared"/>.</summary>
    public EquatableList<SharedTransformerSpec> SharedTransformers { get; init; } = [];

    /// <summary>The head is the embedding transposed.</summary>
    public bool TiedHead { get; init; } = true;

    /// <summary>Epsilon of the norm after the last block.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Norms keep what their factors differ from 1 by, so that weights start at 0 and decay would draw factors to 1. Gated norms inside state-space mixers keep the factors themselves.</summary>
    public bool ZeroCenteredNorms { get; init; }

    /// <summary>A token that stands for nothing: its row of the embedding gets no gradient from the look-up (a tied head still teaches it); null: none.</summary>
    public int? PaddingId { get; init; }

    /// <summary>Coefficient of the head's z-loss: the mean, over the targets that count, of the squared log-sum-exp of the logits (arXiv 2204.02311, section 5), added to the loss.</summary>
    public double HeadZLoss { get; init; }

    /// <summary>The z-loss is a mean over all positions instead, those without a target and pads too. It costs two more passes over the head.</summary>
    public bool HeadZLossEverywhere { get; init; }

    /// <summary>Factor on the embedded tokens.</summary>
    public double EmbeddingScale { get; init; } = 1;

    /// <summary>Factor on the logits.</summary>
    public double LogitScale { get; init; } = 1;

    /// <summary>Random weights at the start of training.</summary>
    public InitialisationSpec Initialisation { get; init; } = new();

    /// <summary>How many blocks there are.</summary>
    [JsonIgnore]
    public int Depth => Blocks.Count;

    /// <summary>The blocks in pattern notation, see <see cref="BlockPattern"/>.</summary>
    [JsonIgnore]
    public string Pattern => BlockPattern.Print(Blocks);

    /// <summary>Creates a builder, to which mixers, the depth and the order of the blocks are added: <c>HybridDesign.Create(width, vocabularySize).WithAttention(...)...Build()</c>.</summary>
    /// <param name="width">Channels of the residual stream.</param>
    /// <param name="vocabularySize">Number of tokens in the vocabulary.</param>
    /// <exception cref="ArgumentException">A size is below 1 or above 1,048,576.</exception>
    public static HybridDesignBuilder Create(int width, int vocabularySize) => new(width, vocabularySize);

    /// <summary>The same design with every size that was left at 0 filled in, checked.</summary>
    /// <exception cref="ArgumentException">No model can be made of it; names block, property, what it was and what was expected.</exception>
    public HybridDesign Resolve()
    {
        var filled = Fill();
        filled.Check();
        return filled;
    }

    /// <summary>Every size that was left at 0 filled in, as far as the others allow, not checked.</summary>
    internal HybridDesign Fill()
    {
        Require.Size(Width, "width");
        Require.Present(Blocks, "blocks", "at least one block");
        var blocks = new BlockSpec[Blocks.Count];
        for (int i = 0; i < blocks.Length; i++)
        {
            int index = i;
            Require.Within($"block {i + 1}", () => blocks[index] = (Blocks[index] ?? throw Require.Refusal("block", null, "a block")).Resolve(Width));
        }
        var transformers = new SharedTransformerSpec[SharedTransformers?.Count ?? 0];
        for (int i = 0; i < transformers.Length; i++)
        {
            int index = i;
            Require.Within($"shared transformer {i}", () =>
                transformers[index] = (SharedTransformers![index] ?? throw Require.Refusal("transformer", null, "a SharedTransformerSpec")).Resolve(Width));
        }
        return this with { Blocks = new(blocks), SharedTransformers = new(transformers) };
    }

    /// <summary>Whether there is anything in it that could be looked at.</summary>
    internal bool HasBlocks => Blocks is not null && SharedTransformers is not null && Blocks.All(block => block is { FeedForward: not null }) && SharedTransformers.All(transformer => transformer?.Attention is not null);

    /// <summary>Refuses a design of which no model can be made.</summary>
    /// <exception cref="ArgumentException">Names block, property, what it was and what was expected.</exception>
    public void Check()
    {
        Require.That(Name is null || IsText(Name), "name", Name, "text without half characters (unpaired surrogates)");
        Require.Size(VocabularySize, "vocabularySize");
        Require.Size(Width, "width");
        Require.Present(Blocks, "blocks", "at least one block");
        Require.That(Blocks.Count is >= 1 and <= MaxDepth, "depth", Blocks.Count, $"1 to {MaxDepth}");
        Require.Positive(NormEpsilon, "normEpsilon");
        Require.That(PaddingId is null || (PaddingId >= 0 && PaddingId < VocabularySize), "paddingId", PaddingId, $"0 to {VocabularySize - 1}, or none");
        Require.NotNegative(HeadZLoss, "headZLoss");
        Require.Positive(EmbeddingScale, "embeddingScale");
        Require.Positive(LogitScale, "logitScale");
        Require.Present(Initialisation, "initialisation", "an InitialisationSpec");
        Require.Within("initialisation", Initialisation.Check);
        Require.Present(SharedTransformers, "sharedTransformers", "a list, which may be empty");
        Require.That(SharedTransformers.Count <= MaxDepth, "sharedTransformers", SharedTransformers.Count, $"at most {MaxDepth}");
        for (int i = 0; i < SharedTransformers.Count; i++)
            Require.Within($"shared transformer {i}", () => (SharedTransformers[i] ?? throw Require.Refusal("transformer", null, "a SharedTransformerSpec")).Check(Width));
        for (int i = 0; i < Blocks.Count; i++)
        {
            Require.Within($"block {i + 1}", () => Blocks[i].Check(Width));
            if (Blocks[i].Shared is { } use) Require.Within($"block {i + 1}: shared", () => use.Check(this));
        }
    }

    /// <summary>The attention of the shared transformer a block uses, or null.</summary>
    internal AttentionSpec? SharedAttention(BlockSpec block) => block.Shared is { } use ? SharedTransformers[use.Transformer].Attention : null;

    // what UTF-8 can hold
    static bool IsText(string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i])) continue;
            if (i + 1 == text.Length || !char.IsSurrogatePair(text[i], text[i + 1])) return false;
            i++;
        }
        return true;
    }

    /// <summary>The design as indented JSON; every number is written.</summary>
    public string ToJson() => DesignJson.Write(this);

    /// <summary>Reads what <see cref="ToJson"/> writes. Keys may stand in any order; those with a default may be absent.</summary>
    /// <exception cref="ArgumentException">Not JSON, an unknown, doubled or missing key, a value of the wrong kind, or a design of which no model can be made;
    /// names the place, what it was and what was expected.</exception>
    public static HybridDesign FromJson(string json) => DesignJson.Read(json);

    /// <summary>What differs between this design and another, by place; equal designs give none.</summary>
    public EquatableList<DesignDifference> Diff(HybridDesign other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return DesignDiff.Between(this, other);
    }

    /// <summary>Trainable parameters: total, active, by part and by block.</summary>
    public ParameterCount CountParameters() => ParameterCount.FromDesign(this);

    /// <summary>One line: name, width, vocabulary and pattern.</summary>
    public override string ToString() => $"{Name ?? "design"}: width {Width}, vocabulary {VocabularySize}, {Depth} blocks {Pattern}";
}
