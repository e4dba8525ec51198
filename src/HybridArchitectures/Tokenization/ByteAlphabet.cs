using System.Diagnostics.CodeAnalysis;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Maps bytes to the printable characters of byte-level vocabularies. Printable Latin-1 characters represent themselves. The other 68 bytes are
/// represented by U+0100 and the following characters, in order, so a space becomes "Ġ".
/// </summary>
static class ByteAlphabet
{
    /// <summary>Specifies the code after that of the last character of the alphabet.</summary>
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

    /// <summary>Returns the printable spelling of the bytes.</summary>
    public static string Spell(ReadOnlySpan<byte> bytes) => string.Create(bytes.Length, bytes, static (chars, source) =>
    {
        for (int i = 0; i < chars.Length; i++) chars[i] = CharOfByte[source[i]];
    });

    /// <summary>Converts a printable spelling to bytes. Returns false if a character is not in the alphabet.</summary>
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

    /// <summary>Returns whether the byte can occur in UTF-8. 0xC0, 0xC1 and 0xF5 to 0xFF cannot.</summary>
    public static bool IsOfUtf8(byte value) => value is not (0xC0 or 0xC1 or >= 0xF5);
}
