namespace HybridArchitectures.Review;

/// <summary>Contains the options of a review.</summary>
public sealed record ReviewOptions
{
    /// <summary>Gets or sets the ids of rules that are switched off. The default is empty.</summary>
    public IReadOnlyCollection<string> Off { get; init => field = Require.Items(value, nameof(Off)); } = [];

    /// <summary>Gets or sets custom rules, in addition to <see cref="DesignRules.All"/>. The default is empty.</summary>
    public IReadOnlyList<DesignRule> Rules { get; init => field = Require.Items(value, nameof(Rules)); } = [];

    /// <summary>Gets or sets the sequence length in training, in tokens. The default is 8,192.</summary>
    public int TrainingLength { get; init; } = 8192;

    /// <summary>Gets or sets the maximum sequence length in use, in tokens. The default, 0, means <see cref="TrainingLength"/>.</summary>
    public int MaxContextLength { get; init; }

    /// <summary>Gets or sets whether the model must find facts in its context, for example to answer questions. The default is true.</summary>
    public bool Retrieval { get; init; } = true;

    /// <summary>Gets or sets the number of key-value pairs that the model must recall from its context. The default, 0, means unspecified.</summary>
    public int RecalledPairs { get; init; }

    /// <summary>
    /// Gets or sets whether the model must track states, such as the parity of a sequence, the board of a game, or nested brackets. The default is
    /// false.
    /// </summary>
    public bool StateTracking { get; init; }
}
