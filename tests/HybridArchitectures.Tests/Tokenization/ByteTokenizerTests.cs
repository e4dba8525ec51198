using System.Text;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

public class ByteTokenizerTests
{
    [Fact]
    public void Ids_are_the_bytes_of_the_text()
    {
        var tokenizer = new ByteTokenizer();
        const string text = "na\u00EFve \U0001F600";
        Assert.Equal(Encoding.UTF8.GetBytes(text).Select(value => (int)value), tokenizer.Encode(text));
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        Assert.Equal(256, tokenizer.VocabularySize);
        Assert.Empty(tokenizer.SpecialTokens);
        Assert.Throws<ArgumentException>(() => tokenizer.Encode("a", beginOfText: true));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([256]));
    }

    [Fact]
    public void Special_tokens_follow_the_bytes()
    {
        var tokenizer = new ByteTokenizer(beginOfText: true, padding: true);
        Assert.Equal((258, 256, null, 257), (tokenizer.VocabularySize, tokenizer.BeginOfText, tokenizer.EndOfText, tokenizer.Padding));
        Assert.Equal([256, 97, 257], tokenizer.Encode($"a{ByteTokenizer.PaddingText}", beginOfText: true, recognizeSpecial: true));
        Assert.Equal("a", tokenizer.Decode([256, 97, 257], skipSpecialTokens: true));
        Assert.Empty(tokenizer.StopTokens);
    }

    [Fact]
    public void Every_byte_of_a_character_has_its_span()
    {
        var spanned = new ByteTokenizer(beginOfText: true).EncodeWithSpans("a\U0001F600b", beginOfText: true);
        Assert.Equal([new(0, 0), new(0, 1), new(1, 2), new(1, 2), new(1, 2), new(1, 2), new(2, 3)], spanned.Spans);
    }

    [Fact]
    public void Streaming_equals_decoding_at_once_for_any_bytes()
    {
        var tokenizer = new ByteTokenizer();
        var random = new Random(3);
        byte[] pool = [0x41, 0x80, 0x8C, 0x9F, 0xA0, 0xBF, 0xC0, 0xC3, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF];
        for (int round = 0; round < 3000; round++)
        {
            var ids = Enumerable.Range(0, random.Next(1, 12)).Select(_ => (int)pool[random.Next(pool.Length)]).ToArray();
            var decoder = tokenizer.CreateDecoder();
            var pieces = ids.Select(decoder.Add).ToList();
            pieces.Add(decoder.Flush());
            Assert.Equal(tokenizer.Decode(ids), string.Concat(pieces));
        }
    }
}
