namespace HybridArchitectures.Tokenization;

/// <summary>A token that stands beside the learned vocabulary and is never split.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Text">How it is written in a text, such as <c>&lt;|eot_id|&gt;</c>.</param>
/// <param name="Special">A control token: recognised in a text only on request, and left out of decoded text on request. Otherwise it is a word like any other.</param>
public sealed record AddedToken(int Id, string Text, bool Special = true);
