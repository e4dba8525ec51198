using System.Globalization;
using System.Text;
using HybridArchitectures.Tokenization;

namespace RunCheckpoint;

/// <summary>Converts between token ids and text for a model without a tokenizer: the ids are decimal numbers with spaces after them.</summary>
sealed class NumberTokenizer(int vocabulary) : Tokenizer(vocabulary, [])
{
    public override int? BeginOfText => null;

    public override int? EndOfText => null;

    public override int? Padding => null;

    protected override void EncodePlain(string text, List<int> ids)
    {
        foreach (string word in text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            if (!int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int id) || id >= VocabularySize)
                throw new ArgumentException($"\"{word}\" is no token; the folder has no tokenizer, so write numbers from 0 to {VocabularySize - 1}",
                    nameof(text));
            ids.Add(id);
        }
    }

    protected override ReadOnlySpan<byte> PlainBytes(int id) => Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{id} "));
}
