namespace HybridArchitectures.Design;

/// <summary>What a review is to know and to leave out.</summary>
public sealed record ReviewOptions
{
    /// <summary>Ids of rules that are switched off.</summary>
    public IReadOnlyCollection<string> Off { get; init; } = [];

    /// <summary>Rules of your own, beside <see cref="DesignRules.All"/>.</summary>
    public IReadOnlyList<DesignRule> Rules { get; init; } = [];

    /// <summary>Tokens of the texts it is trained on.</summary>
    public int TrainingLength { get; init; } = 8192;

    /// <summary>Tokens of the longest text it is to serve; 0: <see cref="TrainingLength"/>.</summary>
    public int MaxTextLength { get; init; }

    /// <summary>Whether it must find facts in its context, as in question answering.</summary>
    public bool Retrieval { get; init; } = true;

    /// <summary>How many pairs of key and value it is to recall from its context; 0: not said.</summary>
    public int RecalledPairs { get; init; }
}
