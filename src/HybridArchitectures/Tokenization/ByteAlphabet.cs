using System.Diagnostics.CodeAnalysis;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// The printable spelling of bytes that byte-level vocabularies are written in: printable Latin-1 characters stand for themselves, the other 68 bytes for
/// U+0100 and up, in order (so a space reads "Ġ").
/// </summary>
static class ByteAlphabet
{
    /// <summary>One more than the last character's number.</summary>
    public const int Size = 0x144;

    static readonly char[] CharOfByte = new char[256];
    static readonly Dictionary<char, byte> ByteOfChar = new(256);

    static ByteAlphabet()
    {
        char next = '\u0100';
        for (int value = 0; value < 256; value++)
        {
            bool printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            CharOfByte[value] = printable ? (char)value : next++;
            ByteOfChar[CharOfByte[value]] = (byte)value;
        }
    }

    /// <summary>The printable spelling of bytes.</summary>
    public static string Spell(ReadOnlySpan<byte> bytes) => string.Create(bytes.Length, bytes, static (chars, source) =>
    {
        for (int i = 0; i < chars.Length; i++) chars[i] = CharOfByte[source[i]];
    });

    /// <summary>The bytes of a printable spelling; false if a character is not of the alphabet.</summary>
    public static bool TryRead(string spelling, [NotNullWhen(true)] out byte[]? bytes)
    {
        bytes = new byte[spelling.Length];
        for (int i = 0; i < spelling.Length; i++)
        {
            if (ByteOfChar.TryGetValue(spelling[i], out bytes[i])) continue;
            bytes = null;
            return false;
        }
        return true;
    }

    /// <summary>Returns whether the byte occurs in UTF-8: 0xC0, 0xC1 and 0xF5 to 0xFF never do.</summary>
    public static bool IsOfUtf8(byte value) => value is not (0xC0 or 0xC1 or >= 0xF5);
}
