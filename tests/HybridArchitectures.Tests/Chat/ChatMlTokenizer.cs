using System.Text;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Chat;

/// <summary>Represents a tokenizer of bytes and the two special tokens of ChatML.</summary>
sealed class ChatMlTokenizer() : Tokenizer(258, [new(256, "<|im_start|>"), new(257, "<|im_end|>")])
{
    static readonly byte[] All = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];

    public override int? BeginOfText => null;

    public override int? EndOfText => 257;

    public override int? Padding => null;

    protected override void EncodePlain(string text, List<int> ids) => ids.AddRange(Encoding.UTF8.GetBytes(text).Select(value => (int)value));

    protected override ReadOnlySpan<byte> PlainBytes(int id) => id < 256 ? All.AsSpan(id, 1) : default;
}
