namespace HybridArchitectures.Tokenization;

/// <summary>A token that stands beside the learned vocabulary and is never split.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Text">How it is written in a text, such as <c>&lt;|eot_id|&gt;</c>.</param>
/// <param name="Special">A control token: recognised in a text only on request, and left out of decoded text on request. Otherwise it is a word like any other.</param>
public sealed record AddedToken(int Id, string Text, bool Special = true)
{
    /// <summary>
    /// Gets whether the token is searched in the normalised text, after all tokens that are searched in the text as it is given. The default is
    /// false.
    /// </summary>
    public bool Normalized { get; init; }

    /// <summary>Gets whether the token takes the white space before it along. The default is false.</summary>
    public bool LeftStrip { get; init; }

    /// <summary>Gets whether the token takes the white space after it along. The default is false.</summary>
    public bool RightStrip { get; init; }

    /// <summary>Gets whether the token is recognised only where no word character (letter, digit, mark or underscore) stands next to it. The default
    /// is false.</summary>
    public bool SingleWord { get; init; }
}
