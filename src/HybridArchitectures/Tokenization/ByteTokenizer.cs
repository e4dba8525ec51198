using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Encodes each byte of the UTF-8 text as one token whose id is the value of the byte. The requested special tokens follow from id 256 on, in the
/// order begin, end, padding.
/// </summary>
/// <example>
/// <code>
/// var tokenizer = new ByteTokenizer(endOfText: true);
/// int[] ids = tokenizer.Encode("Mamba");
/// Console.WriteLine($"{string.Join(" ", ids)}: {tokenizer.Decode(ids)}");           // 77 97 109 98 97: Mamba
/// </code>
/// </example>
public sealed class ByteTokenizer : Tokenizer
{
    /// <summary>Specifies the text of the begin-of-text token.</summary>
    public const string BeginOfTextText = "<|begin_of_text|>";

    /// <summary>Specifies the text of the end-of-text token.</summary>
    public const string EndOfTextText = "<|end_of_text|>";

    /// <summary>Specifies the text of the padding token.</summary>
    public const string PaddingText = "<|padding|>";

    static readonly byte[] AllBytes = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];

    /// <summary>Creates a byte tokenizer with the requested special tokens.</summary>
    /// <param name="beginOfText">Whether there is a begin-of-text token. The default is false.</param>
    /// <param name="endOfText">Whether there is an end-of-text token. The default is false.</param>
    /// <param name="padding">Whether there is a padding token. The default is false.</param>
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
