using System.Text;

namespace HybridArchitectures.Training.Data;

/// <summary>Decodes UTF-8 and refuses invalid bytes, except unpaired surrogates, which some programs write and which become U+FFFD.</summary>
static class Utf8Text
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Returns the text.</summary>
    /// <param name="bytes">The text in UTF-8.</param>
    /// <param name="replaced">Incremented by the number of unpaired surrogates.</param>
    /// <exception cref="DecoderFallbackException">The bytes are not UTF-8. The index of the exception is the position.</exception>
    public static string Decode(ReadOnlySpan<byte> bytes, ref long replaced)
    {
        try
        {
            return Strict.GetString(bytes);
        }
        catch (DecoderFallbackException e) when (IsHalfPair(bytes, e.Index))
        {
            var mended = bytes.ToArray();
            int count = 0;
            for (int i = e.Index; i < mended.Length; i++)
            {
                if (!IsHalfPair(mended, i)) continue;
                "\uFFFD"u8.CopyTo(mended.AsSpan(i));
                count++;
            }
            var text = Strict.GetString(mended);
            replaced += count;
            return text;
        }
    }

    // U+D800 to U+DFFF in three bytes
    static bool IsHalfPair(ReadOnlySpan<byte> bytes, int at) =>
        at >= 0 && at + 2 < bytes.Length && bytes[at] == 0xed && bytes[at + 1] is >= 0xa0 and <= 0xbf && bytes[at + 2] is >= 0x80 and <= 0xbf;

    /// <summary>Returns the name of an unsupported encoding that the first bytes of a file indicate, or null.</summary>
    public static string? ForeignMark(ReadOnlySpan<byte> bytes)
    {
        if (bytes.StartsWith((ReadOnlySpan<byte>)[0xff, 0xfe, 0, 0]) || bytes.StartsWith((ReadOnlySpan<byte>)[0, 0, 0xfe, 0xff])) return "UTF-32";
        return bytes.StartsWith((ReadOnlySpan<byte>)[0xff, 0xfe]) || bytes.StartsWith((ReadOnlySpan<byte>)[0xfe, 0xff]) ? "UTF-16" : null;
    }
}
