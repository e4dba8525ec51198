using System.Text;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Generation;

/// <summary>Represents a tokenizer as a user might write it, with a token for each of the first characters from "A" on.</summary>
sealed class LetterTokenizer(int size) : Tokenizer(size, [])
{
    public override int? BeginOfText => null;

    public override int? EndOfText => null;

    public override int? Padding => null;

    protected override void EncodePlain(string text, List<int> ids) => ids.AddRange(text.Select(letter => letter - 'A'));

    protected override ReadOnlySpan<byte> PlainBytes(int id) => Encoding.UTF8.GetBytes([(char)('A' + id)]);
}
