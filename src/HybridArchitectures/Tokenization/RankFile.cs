using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Tokenization;

/// <summary>Reads a rank file (<c>tokenizer.model</c>). Each line contains the bytes of a token in base64, a space, and the rank.</summary>
static class RankFile
{
    /// <summary>Specifies the maximum number of tokens. A larger id means that the file is damaged.</summary>
    public const int MaxTokens = 1 << 22;

    /// <summary>Specifies the maximum number of bytes of a token.</summary>
    public const int MaxTokenBytes = 4095;

    /// <summary>Reads the bytes of all tokens. The index is the rank.</summary>
    /// <exception cref="InvalidDataException">
    /// A rank is missing or occurs twice, a single byte has no token, or a token occurs twice.
    /// </exception>
    public static byte[][] Read(string path)
    {
        byte[] content = BoundedFile.Read(path, BoundedFile.MaxTokenizerBytes);
        var byRank = new Dictionary<int, (byte[] Bytes, int Line)>();
        var lineOf = new Dictionary<string, int>(StringComparer.Ordinal);
        int line = 0, start = 0;
        InvalidDataException Bad(string why) => new($"{path}, line {line}: {why}");
        while (start < content.Length)
        {
            line++;
            int length = content.AsSpan(start).IndexOf((byte)'\n');
            var text = content.AsSpan(start, length < 0 ? content.Length - start : length);
            start += text.Length + 1;
            if (text.EndsWith("\r"u8)) text = text[..^1];
            int blank = text.IndexOf((byte)' ');
            if (blank <= 0) throw Bad($"found {Show(text)}; expected a token in base64, a space and its rank");
            var token = new byte[Base64.GetMaxDecodedFromUtf8Length(blank)];
            if (Base64.DecodeFromUtf8(text[..blank], token, out _, out int written) != OperationStatus.Done || written == 0)
                throw Bad($"{Show(text[..blank])} is not base64");
            if (written > MaxTokenBytes) throw Bad($"the token has {written} bytes; expected at most {MaxTokenBytes}");
            Array.Resize(ref token, written);
            if (!int.TryParse(text[(blank + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out int rank) || rank >= MaxTokens)
                throw Bad($"the rank is {Show(text[(blank + 1)..])}; expected a whole number from 0 to {MaxTokens - 1}");
            if (!byRank.TryAdd(rank, (token, line))) throw Bad($"rank {rank} is already on line {byRank[rank].Line}");
            if (!lineOf.TryAdd(ByteAlphabet.Spell(token), line)) throw Bad($"the token is already on line {lineOf[ByteAlphabet.Spell(token)]}");
        }
        if (line == 0) throw new InvalidDataException($"{path}: the file is empty; expected a rank file");
        for (int value = 0; value < 256; value++)
            if (ByteAlphabet.IsOfUtf8((byte)value) && !lineOf.ContainsKey(ByteAlphabet.Spell([(byte)value])))
                throw new InvalidDataException($"{path}: no token for the single byte 0x{value:X2}; the file may be incomplete");
        for (int rank = 0; rank < byRank.Count; rank++)
            if (!byRank.ContainsKey(rank))
                throw new InvalidDataException($"{path}: no token has rank {rank}, but there are {line} tokens; the file may be incomplete");
        return [.. Enumerable.Range(0, byRank.Count).Select(rank => byRank[rank].Bytes)];
    }

    // the beginning of the text that was found, in printable form
    static string Show(ReadOnlySpan<byte> text)
    {
        var shown = new StringBuilder("\"");
        foreach (byte value in text[..Math.Min(text.Length, 40)]) shown.Append(value is >= 32 and < 127 ? (char)value : '\u00B7');
        return shown.Append(text.Length > 40 ? "...\"" : "\"").ToString();
    }
}
