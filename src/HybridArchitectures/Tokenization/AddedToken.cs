namespace HybridArchitectures.Tokenization;

/// <summary>Describes a token in addition to the learned vocabulary. It is never split.</summary>
/// <param name="Id">The id of the token.</param>
/// <param name="Text">The text of the token, for example <c>&lt;|eot_id|&gt;</c>.</param>
/// <param name="Special">
/// Whether the token is a control token. A control token is recognized in text, and omitted from decoded text, only on request. The default is true.
/// </param>
public sealed record AddedToken(int Id, string Text, bool Special = true)
{
    /// <summary>
    /// Gets or sets whether the token is searched for in the normalized text, after the tokens that are searched for in the original text. The
    /// default is false.
    /// </summary>
    public bool Normalized { get; init; }

    /// <summary>Gets or sets whether the token includes the white space before it. The default is false.</summary>
    public bool LeftStrip { get; init; }

    /// <summary>Gets or sets whether the token includes the white space after it. The default is false.</summary>
    public bool RightStrip { get; init; }

    /// <summary>
    /// Gets or sets whether the token is recognized only if no word character (letter, digit, mark or underscore) is next to it. The default is
    /// false.
    /// </summary>
    public bool SingleWord { get; init; }
}
