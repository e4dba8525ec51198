using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Turns tokens into text one at a time. Bytes of a character that is not complete yet are held back until it is, or until <see cref="Flush"/>; every maximal
/// ill-formed run of bytes becomes one U+FFFD, as the Unicode standard recommends. The texts one after another are those of <see cref="Tokenizer.Decode"/>.
/// </summary>
public sealed class StreamingDecoder
{
    readonly Tokenizer tokenizer;
    readonly bool skipSpecialTokens;
    readonly Decoder decoder = Encoding.UTF8.GetDecoder();

    internal StreamingDecoder(Tokenizer tokenizer, bool skipSpecialTokens) => (this.tokenizer, this.skipSpecialTokens) = (tokenizer, skipSpecialTokens);

    /// <summary>The text that the next token completes; empty while a character is unfinished or the token is a skipped special one.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No token has this id.</exception>
    public string Add(int id)
    {
        var bytes = tokenizer.Bytes(id);
        return skipSpecialTokens && tokenizer.IsSpecial(id) ? "" : Decode(bytes, flush: false);
    }

    /// <summary>Ends the text: U+FFFD if a character was left unfinished, otherwise nothing. The decoder can be used again afterwards.</summary>
    public string Flush() => Decode([], flush: true);

    string Decode(ReadOnlySpan<byte> bytes, bool flush)
    {
        Span<char> small = stackalloc char[128];
        // a held-back prefix that turns out ill-formed adds one character of its own
        int most = bytes.Length + 4;
        var chars = most <= small.Length ? small : new char[most];
        return chars[..decoder.GetChars(bytes, chars, flush)].ToString();
    }
}
