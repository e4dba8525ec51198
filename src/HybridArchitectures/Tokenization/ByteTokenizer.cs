using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>Every byte of the UTF-8 text is a token with the byte's value as id. The special tokens asked for follow from 256, in the order begin, end, padding.</summary>
public sealed class ByteTokenizer : Tokenizer
{
    /// <summary>How the begin-of-text token is written.</summary>
    public const string BeginOfTextText = "<|begin_of_text|>";

    /// <summary>How the end-of-text token is written.</summary>
    public const string EndOfTextText = "<|end_of_text|>";

    /// <summary>How the padding token is written.</summary>
    public const string PaddingText = "<|padding|>";

    static readonly byte[] AllBytes = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];

    /// <summary>A byte tokenizer with the special tokens asked for.</summary>
    public ByteTokenizer(bool beginOfText = false, bool endOfText = false, bool padding = false) : base(
        256 + (beginOfText ? 1 : 0) + (endOfText ? 1 : 0) + (padding ? 1 : 0), Special(beginOfText, endOfText, padding))
    {
        BeginOfText = Find(BeginOfTextText);
        EndOfText = Find(EndOfTextText);
        Padding = Find(PaddingText);
    }

    /// <inheritdoc/>
    public override int? BeginOfText { get; }

    /// <inheritdoc/>
    public override int? EndOfText { get; }

    /// <inheritdoc/>
    public override int? Padding { get; }

    /// <inheritdoc/>
    protected override void EncodePlain(string text, List<int> ids)
    {
        ids.EnsureCapacity(ids.Count + text.Length);
        foreach (byte value in Encoding.UTF8.GetBytes(text)) ids.Add(value);
    }

    /// <inheritdoc/>
    protected override ReadOnlySpan<byte> PlainBytes(int id) => AllBytes.AsSpan(id, 1);

    int? Find(string text) => SpecialTokens.TryGetValue(text, out int id) ? id : null;

    static IEnumerable<AddedToken> Special(bool beginOfText, bool endOfText, bool padding)
    {
        int id = 256;
        if (beginOfText) yield return new(id++, BeginOfTextText);
        if (endOfText) yield return new(id++, EndOfTextText);
        if (padding) yield return new(id, PaddingText);
    }
}
