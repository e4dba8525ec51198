using System.Globalization;
using HybridArchitectures.Chat;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents examples that are never cut, such as prompts with answers. Each is read once per epoch, in an order that depends on seed and epoch. By
/// default, a row contains as many complete examples as fit, kept apart as documents, and padding.
/// </summary>
public sealed class ExampleDataset : ITrainingData
{
    readonly int[] tokens, prompts;
    readonly long[] starts;         // the last entry is the end
    readonly float[]? weights;
    readonly ulong fingerprint;
    readonly bool packed;

    ExampleDataset(IReadOnlyList<TrainingExample> examples, int vocabularySize, bool packed)
    {
        (VocabularySize, this.packed) = (vocabularySize, packed);
        starts = new long[examples.Count + 1];
        for (int i = 0; i < examples.Count; i++) starts[i + 1] = starts[i] + examples[i].Tokens.Count;
        tokens = new int[checked((int)starts[^1])];
        prompts = new int[examples.Count];
        weights = examples.Any(example => example.Weight != 1) ? new float[examples.Count] : null;
        for (int i = 0; i < examples.Count; i++)
        {
            for (int j = 0; j < examples[i].Tokens.Count; j++) tokens[starts[i] + j] = examples[i].Tokens[j];
            prompts[i] = examples[i].PromptLength;
            if (weights is not null) weights[i] = (float)examples[i].Weight;
        }
        fingerprint = ComputeFingerprint();
    }

    /// <summary>Creates a data set from examples.</summary>
    /// <param name="examples">The examples, at least one.</param>
    /// <param name="vocabularySize">The vocabulary size: one more than the maximum id.</param>
    /// <param name="packed">Whether a row contains as many examples as fit. False means one example per row. The default is true.</param>
    /// <exception cref="ArgumentException">
    /// An example is too short, has an id outside the vocabulary, or has no token that counts. The message names it.
    /// </exception>
    public static ExampleDataset FromExamples(IEnumerable<TrainingExample> examples, int vocabularySize, bool packed = true)
    {
        Require.InRange(vocabularySize > 0, nameof(vocabularySize), vocabularySize, "at least 1");
        var list = Require.EachItem(examples).ToArray();
        if (list.Length == 0) throw Require.Unfit(nameof(examples), "examples has 0 entries", "at least 1");
        for (int i = 0; i < list.Length; i++) Check(list[i], i, vocabularySize);
        return new ExampleDataset(list, vocabularySize, packed);
    }

    /// <summary>Tokenizes prompts and answers. Only the answers, and the end-of-text token after them, count in the loss.</summary>
    /// <param name="pairs">
    /// The prompts and answers, which are tokenized separately. A prompt can be empty if the tokenizer has a begin-of-text token.
    /// </param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="packed">Whether a row contains as many examples as fit. The default is true.</param>
    /// <exception cref="ArgumentException">An example has no prompt and there is no begin-of-text token, or its answer is empty.</exception>
    public static ExampleDataset FromPairs(IEnumerable<(string Prompt, string Answer)> pairs, Tokenizer tokenizer, bool packed = true)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        var examples = Require.EachItem(pairs).Select(pair =>
        {
            var prompt = tokenizer.Encode(pair.Prompt, beginOfText: tokenizer.BeginOfText is not null);
            int[] end = tokenizer.EndOfText is { } id ? [id] : [];
            return new TrainingExample([.. prompt, .. tokenizer.Encode(pair.Answer), .. end], prompt.Length);
        });
        return FromExamples(examples, tokenizer.VocabularySize, packed);
    }

    /// <summary>
    /// Formats conversations with a chat template. Each answer of the assistant is an example, whose prompt is the conversation before it. Only the
    /// answer and the token that ends it count in the loss.
    /// </summary>
    /// <param name="chats">The conversations, each with at least one answer.</param>
    /// <param name="template">The template with which the model will be used.</param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="packed">Whether a row contains as many examples as fit. The default is true.</param>
    /// <exception cref="ArgumentException">
    /// A conversation has no answer, or the template changes what is before an answer. The message names the conversation.
    /// </exception>
    public static ExampleDataset FromChats(
        IEnumerable<IReadOnlyList<ChatMessage>> chats, ChatTemplate template, Tokenizer tokenizer, bool packed = true)
    {
        ArgumentNullException.ThrowIfNull(template);
        ArgumentNullException.ThrowIfNull(tokenizer);
        var examples = new ChatExamples(template, tokenizer);
        return FromExamples(Require.EachItem(chats).SelectMany(examples.Read), tokenizer.VocabularySize, packed);
    }

    static void Check(TrainingExample example, int index, int vocabularySize)
    {
        ArgumentException Refusal(string text) => new(string.Create(CultureInfo.InvariantCulture, $"example {index} {text}"), "examples");
        if (example?.Tokens is null) throw Refusal("is null; expected tokens");
        if (example.Tokens.Count < 2) throw Refusal($"has {example.Tokens.Count} tokens; expected at least 2");
        if (example.PromptLength < 0 || example.PromptLength >= example.Tokens.Count)
            throw Refusal($"has a prompt of {example.PromptLength} tokens; expected 0 to {example.Tokens.Count - 1}");
        if (!(example.Weight > 0) || !double.IsFinite(example.Weight))
            throw Refusal(string.Create(CultureInfo.InvariantCulture, $"has weight {example.Weight}; expected a finite number above 0"));
        foreach (int id in example.Tokens)
            if (id < 0 || id >= vocabularySize) throw Refusal($"contains id {id}; expected 0 to {vocabularySize - 1}");
    }

    /// <summary>Gets the number of examples.</summary>
    public int Count => prompts.Length;

    /// <summary>Gets the maximum length of an example in tokens. The context length must be at least one less.</summary>
    public int MaxLength => Enumerable.Range(0, Count).Max(Length);

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public string Description => string.Create(CultureInfo.InvariantCulture,
        $"{Count} {(packed ? "packed " : "")}examples of {tokens.Length} tokens of a vocabulary of {VocabularySize}, fingerprint {fingerprint:x16}");

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">An example is longer than a row.</exception>
    public TrainingReader OpenReader(TrainingReaderOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        for (int i = 0; i < Count; i++)
            if (Length(i) > options.ContextLength + 1)
                throw Require.Unfit(nameof(options), $"example {i} has {Length(i)} tokens",
                    $"at most {options.ContextLength + 1}, one more than the context length, because examples are never cut");
        return new Reader(this, options);
    }

    int Length(int example) => (int)(starts[example + 1] - starts[example]);

    ReadOnlySpan<int> Tokens(int example) => tokens.AsSpan((int)starts[example], Length(example));

    ulong ComputeFingerprint()
    {
        ulong hash = 14695981039346656037;
        void Mix(ulong value) => hash = (hash ^ value) * 1099511628211;
        foreach (long start in starts) Mix((ulong)start);
        foreach (int prompt in prompts) Mix((ulong)prompt);
        foreach (int token in tokens) Mix((ulong)token);
        foreach (float weight in weights ?? []) Mix(BitConverter.SingleToUInt32Bits(weight));
        return hash;
    }

    sealed class Reader(ExampleDataset data, TrainingReaderOptions options) : TrainingReader(options.ContextLength)
    {
        DataPosition position;

        public override DataPosition Position
        {
            get => position;
            set
            {
                Require.InRange(value.Epoch >= 0, nameof(Position), value.Epoch, "an epoch from 0");
                Require.InRange(value.Index >= 0 && value.Index <= data.Count, nameof(Position), value.Index,
                    $"an index from 0 to the epoch's {data.Count} examples");
                position = value;
            }
        }

        protected override void FillNext(TrainingRow row)
        {
            if (position.Index == data.Count) position = new DataPosition(position.Epoch + 1, 0);
            var order = Order;
            int filled = 0;
            for (int document = 0; position.Index < data.Count; document++)
            {
                int example = (int)order[position.Index];
                if (filled + data.Length(example) - 1 > ContextLength || (document > 0 && !data.packed)) break;
                filled = Add(row, example, filled, document);
                position = position with { Index = position.Index + 1 };
            }
            row.Length = filled;
            if (row.HasDocuments) row.UseDocuments()[filled..].Fill(row.UseDocuments()[filled - 1]);
        }

        public override void Skip(long rows)
        {
            RequireSkip(rows);
            for (; rows > 0; rows--)
            {
                if (position.Index == data.Count) position = new DataPosition(position.Epoch + 1, 0);
                var order = Order;
                for (int filled = 0, placed = 0; position.Index < data.Count; placed++)
                {
                    int needed = data.Length((int)order[position.Index]) - 1;
                    if (filled + needed > ContextLength || (placed > 0 && !data.packed)) break;
                    filled += needed;
                    position = position with { Index = position.Index + 1 };
                }
            }
        }

        SeededPermutation Order =>
            new(data.Count, SeededPermutation.Mix(SeededPermutation.Mix((ulong)options.Seed + 0x9e3779b97f4a7c15) + (ulong)position.Epoch));

        int Add(TrainingRow row, int example, int at, int document)
        {
            var tokens = data.Tokens(example);
            for (int i = 0; i + 1 < tokens.Length; i++)
            {
                row.Ids[at + i] = tokens[i];
                if (i + 1 >= data.prompts[example]) row.Targets[at + i] = tokens[i + 1];
            }
            int end = at + tokens.Length - 1;
            if (data.packed) row.UseDocuments()[at..end].Fill(document);
            if (data.weights is not null) row.UseWeights()[at..end].Fill(data.weights[example]);
            return end;
        }
    }
}
