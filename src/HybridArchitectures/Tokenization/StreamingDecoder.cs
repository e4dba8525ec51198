using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Converts tokens to text one at a time. The bytes of an incomplete character are held back until it is complete, or until <see cref="Flush"/>. Each
/// maximal invalid sequence of bytes becomes one U+FFFD, as the Unicode standard recommends. The concatenated texts equal the result of
/// <see cref="Tokenizer.Decode"/>.
/// </summary>
public sealed class StreamingDecoder
{
    readonly Tokenizer tokenizer;
    readonly bool skipSpecialTokens;
    readonly Decoder decoder = Encoding.UTF8.GetDecoder();

    internal StreamingDecoder(Tokenizer tokenizer, bool skipSpecialTokens) =>
        (this.tokenizer, this.skipSpecialTokens) = (tokenizer, skipSpecialTokens);

    /// <summary>
    /// Returns the text that the next token completes. It is empty while a character is incomplete or if the token is a skipped special token.
    /// </summary>
    /// <param name="id">The id of the token.</param>
    /// <exception cref="ArgumentOutOfRangeException">No token has this id.</exception>
    public string Add(int id)
    {
        var bytes = tokenizer.Bytes(id);
        return skipSpecialTokens && tokenizer.IsSpecial(id) ? "" : Decode(bytes, flush: false);
    }

    /// <summary>
    /// Ends the text. Returns U+FFFD if a character is incomplete, and an empty text otherwise. The decoder can be used again afterwards.
    /// </summary>
    public string Flush() => Decode([], flush: true);

    string Decode(ReadOnlySpan<byte> bytes, bool flush)
    {
        Span<char> small = stackalloc char[128];
        // a held-back prefix that turns out to be invalid adds one character
        int maxChars = bytes.Length + 4;
        var chars = maxChars <= small.Length ? small : new char[maxChars];
        return chars[..decoder.GetChars(bytes, chars, flush)].ToString();
    }
}
