using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Tokenization;

/// <summary>Reads a rank file (<c>tokenizer.model</c>): each line a token's bytes in base64, a blank, its rank.</summary>
static class RankFile
{
    /// <summary>No vocabulary comes near this many tokens; a larger id is a damaged file.</summary>
    public const int MaxTokens = 1 << 22;

    /// <summary>No token comes near this many bytes.</summary>
    public const int MaxTokenBytes = 4095;

    /// <summary>The tokens' bytes; the index is the rank.</summary>
    /// <exception cref="InvalidDataException">The file does not hold every rank from 0 up exactly once, every single byte, and nothing twice.</exception>
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
            if (blank <= 0) throw Bad($"expected a token in base64, a blank and its rank, but found {Show(text)}");
            var token = new byte[Base64.GetMaxDecodedFromUtf8Length(blank)];
            if (Base64.DecodeFromUtf8(text[..blank], token, out _, out int written) != OperationStatus.Done || written == 0)
                throw Bad($"{Show(text[..blank])} is not base64");
            if (written > MaxTokenBytes) throw Bad($"the token has {written} bytes; expected at most {MaxTokenBytes}");
            Array.Resize(ref token, written);
            if (!int.TryParse(text[(blank + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out int rank) || rank >= MaxTokens)
                throw Bad($"the rank is {Show(text[(blank + 1)..])}; expected a whole number from 0 to {MaxTokens - 1}");
            if (!byRank.TryAdd(rank, (token, line))) throw Bad($"rank {rank} stands already on line {byRank[rank].Line}");
            if (!lineOf.TryAdd(ByteAlphabet.Spell(token), line)) throw Bad($"the token stands already on line {lineOf[ByteAlphabet.Spell(token)]}");
        }
        if (line == 0) throw new InvalidDataException($"{path}: the file is empty; expected a rank file");
        for (int value = 0; value < 256; value++)
            if (ByteAlphabet.IsOfUtf8((byte)value) && !lineOf.ContainsKey(ByteAlphabet.Spell([(byte)value])))
                throw new InvalidDataException($"{path}: no token for the single byte 0x{value:X2}; is the file whole?");
        for (int rank = 0; rank < byRank.Count; rank++)
            if (!byRank.ContainsKey(rank)) throw new InvalidDataException($"{path}: no token has rank {rank}, though {line} tokens are there; is the file whole?");
        return [.. Enumerable.Range(0, byRank.Count).Select(rank => byRank[rank].Bytes)];
    }

    // the start of what was found, printable
    static string Show(ReadOnlySpan<byte> text)
    {
        var shown = new StringBuilder("\"");
        foreach (byte value in text[..Math.Min(text.Length, 40)]) shown.Append(value is >= 32 and < 127 ? (char)value : '\u00B7');
        return shown.Append(text.Length > 40 ? "...\"" : "\"").ToString();
    }
}
