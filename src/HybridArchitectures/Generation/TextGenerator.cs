using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Continues prompts with a language model. The prompts of a batch can have different lengths. The result of a prompt depends on the prompt and its
/// seed, and not on the other prompts (except for the rounding of the model, which may depend on the batch). While a token is computed, the model is
/// in evaluation mode and must not be used by other code.
/// </summary>
/// <remarks>
/// On a GPU, the model keeps the cache and the captured step of its last generation if the cache has at most 512 MiB. A generation with as many
/// prompts and the same rules for the selection of tokens uses them again.
/// </remarks>
/// <example>
/// <code>
/// using var model = HybridDesign.Create(width: 32, vocabularySize: 256).WithMamba2(stateSize: 8, headSize: 8)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(48)).Depth(2).Build().CreateModel(seed: 0);
/// var generator = new TextGenerator(model, new ByteTokenizer());
/// GenerationResult result = generator.Generate("Hello", new GenerationOptions { MaxNewTokens = 8, Temperature = 0.8, Seed = 1 });
/// Console.WriteLine(result.Text);
/// </code>
/// </example>
public sealed class TextGenerator : IDisposable
{
    readonly LanguageModel model;
    readonly Tokenizer? tokenizer;
    readonly ScalarType? weightType;
    readonly Lock gate = new();
    HybridLanguageModel? copy;
    long copyVersion;
    int activeRuns;
    bool disposed;

    /// <summary>Creates a generator. The caller disposes the model and the tokenizer.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">
    /// The tokenizer of the model. The default, null, is for models of token ids alone: prompts are ids, results contain ids and no text, and only
    /// <see cref="GenerationOptions.StopTokens"/> and <see cref="GenerationOptions.MaxNewTokens"/> end them.
    /// </param>
    /// <param name="weightType">
    /// The type of the weights during generation. The default, null, uses the model itself. If a model in training has float32 weights, bfloat16
    /// creates a copy on first use, which reads half the bytes per token. The generator keeps the copy, and updates it when the weights of the model
    /// have changed.
    /// </param>
    /// <exception cref="ArgumentException">
    /// The tokenizer has more tokens than the model, the type is neither float32 nor bfloat16, or a type is set for a model that is not a
    /// <see cref="HybridLanguageModel"/>.
    /// </exception>
    public TextGenerator(LanguageModel model, Tokenizer? tokenizer = null, ScalarType? weightType = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (weightType is { } type)
        {
            ModuleChecks.WeightType(type);
            if (model is not HybridLanguageModel)
                throw Require.Unfit(nameof(weightType), $"weightType is {type}, and model is a {model.GetType().Name}",
                    $"a {nameof(HybridLanguageModel)}, or null");
        }
        this.weightType = weightType;
        if (tokenizer is not null && tokenizer.VocabularySize > model.VocabularySize)
            throw Require.Unfit(nameof(tokenizer), $"tokenizer has {tokenizer.VocabularySize} tokens",
                $"at most {model.VocabularySize}, the vocabulary size of the model");
        (this.model, this.tokenizer) = (model, tokenizer);
    }

    /// <summary>
    /// Disposes the copy of the model, if there is one, as soon as no generation uses it. The caller disposes the model and the tokenizer.
    /// </summary>
    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            DisposeUnusedCopy();
        }
    }

    void DisposeUnusedCopy()
    {
        if (!disposed || activeRuns > 0) return;
        copy?.Dispose();
        copy = null;
    }

    GenerationRun StartRun(GenerationOptions options, IReadOnlyList<GenerationRow> rows)
    {
        var runningModel = AcquireModel();
        try
        {
            return new GenerationRun(runningModel, tokenizer, options, rows, ReleaseModel);
        }
        catch
        {
            ReleaseModel();
            throw;
        }
    }

    void ReleaseModel()
    {
        lock (gate)
        {
            activeRuns--;
            DisposeUnusedCopy();
        }
    }

    // the model that computes: that of the caller, or an up-to-date copy of it
    LanguageModel AcquireModel()
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            var used = model;
            if (weightType is { } type && model is HybridLanguageModel original && original.WeightType != type)
            {
                long version = original.Version();
                if (copy is null) copy = original.Copy(type);
                else if (version != copyVersion) copy.Take(original);
                copyVersion = version;
                used = copy;
            }
            activeRuns++;
            return used;
        }
    }

    /// <summary>Continues a text.</summary>
    /// <param name="prompt">The text.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <param name="cancellation">Ends the generation with an <see cref="OperationCanceledException"/> between two tokens.</param>
    /// <returns>The result.</returns>
    /// <exception cref="ArgumentException">The prompt is empty and has no begin-of-text token, or the options do not fit the tokenizer.</exception>
    /// <exception cref="InvalidOperationException">
    /// The scores of the model are not finite, or a prompt is a text and the generator has no tokenizer.
    /// </exception>
    public GenerationResult Generate(string prompt, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        Generate([prompt ?? throw new ArgumentNullException(nameof(prompt))], options, cancellation)[0];

    /// <summary>Continues several texts together.</summary>
    /// <param name="prompts">The texts.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <param name="cancellation">Ends the generation with an <see cref="OperationCanceledException"/> between two tokens.</param>
    /// <returns>One result per prompt.</returns>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    public IReadOnlyList<GenerationResult> Generate(
        IReadOnlyList<string> prompts, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        RunToEnd(CreateRows(Encode(prompts, options ??= new()), options), options, cancellation);

    /// <summary>Continues tokens, such as those of a chat, without changing them.</summary>
    /// <param name="prompt">The tokens, at least one.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <param name="cancellation">Ends the generation with an <see cref="OperationCanceledException"/> between two tokens.</param>
    /// <returns>The result.</returns>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)" path="/exception"/>
    public GenerationResult Generate(IReadOnlyList<int> prompt, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        Generate([prompt ?? throw new ArgumentNullException(nameof(prompt))], options, cancellation)[0];

    /// <summary>Continues several rows of tokens together.</summary>
    /// <param name="prompts">The tokens of each prompt, at least one each.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <param name="cancellation">Ends the generation with an <see cref="OperationCanceledException"/> between two tokens.</param>
    /// <returns>One result per prompt.</returns>
    /// <inheritdoc cref="Generate(IReadOnlyList{string}, GenerationOptions?, CancellationToken)" path="/exception"/>
    public IReadOnlyList<GenerationResult> Generate(
        IReadOnlyList<IReadOnlyList<int>> prompts, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        RunToEnd(CreateRows(prompts, options ??= new()), options, cancellation);

    /// <summary>
    /// Continues a text, token by token. The work runs on a separate thread, one token for each requested piece. An enumeration that is neither
    /// completed nor disposed uses memory until it is garbage-collected, and does not affect others.
    /// </summary>
    /// <inheritdoc cref="Generate(string, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedPiece> StreamAsync(string prompt, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        StreamAsync([prompt ?? throw new ArgumentNullException(nameof(prompt))], options, cancellation);

    /// <summary>Continues several texts together, token by token. The pieces of the rows alternate.</summary>
    /// <inheritdoc cref="Generate(IReadOnlyList{string}, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedPiece> StreamAsync(
        IReadOnlyList<string> prompts, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        StreamAsync(Encode(prompts, options ??= new()), options, cancellation);

    /// <summary>Continues tokens, token by token.</summary>
    /// <inheritdoc cref="Generate(IReadOnlyList{int}, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedPiece> StreamAsync(
        IReadOnlyList<int> prompt, GenerationOptions? options = null, CancellationToken cancellation = default) =>
        StreamAsync([prompt ?? throw new ArgumentNullException(nameof(prompt))], options, cancellation);

    /// <summary>Continues several rows of tokens together, token by token. The pieces of the rows alternate.</summary>
    /// <inheritdoc cref="Generate(IReadOnlyList{IReadOnlyList{int}}, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedPiece> StreamAsync(
        IReadOnlyList<IReadOnlyList<int>> prompts, GenerationOptions? options = null, CancellationToken cancellation = default)
    {
        options ??= new();
        CreateRows(prompts, options);         // throw at the call, not at the first piece
        return Stream(prompts, options, cancellation);
    }

    async IAsyncEnumerable<GeneratedPiece> Stream(
        IReadOnlyList<IReadOnlyList<int>> prompts, GenerationOptions options, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        using var thread = new WorkThread("text generation");
        var run = await thread.Run(() => StartRun(options, CreateRows(prompts, options))).ConfigureAwait(false);
        try
        {
            while (!run.IsFinished)
                foreach (var piece in await thread.Run(() => run.Step(cancellation)).ConfigureAwait(false))
                    yield return piece;
        }
        finally
        {
            await thread.Run(() =>
            {
                run.Dispose();
                return true;
            }).ConfigureAwait(false);
        }
    }

    /// <summary>Generates tokens and returns the time after each step, from the call. The first step also reads the prompts.</summary>
    internal IReadOnlyList<TimeSpan> Time(IReadOnlyList<IReadOnlyList<int>> prompts, GenerationOptions options, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var times = new List<TimeSpan>();
        using var run = StartRun(options, CreateRows(prompts, options));
        while (!run.IsFinished)
        {
            run.Step(cancellation);
            times.Add(clock.Elapsed);
        }
        return times;
    }

    IReadOnlyList<GenerationResult> RunToEnd(IReadOnlyList<GenerationRow> rows, GenerationOptions options, CancellationToken cancellation)
    {
        var texts = rows.Select(_ => new StringBuilder()).ToArray();
        var reasons = new FinishReason[rows.Count];
        using var run = StartRun(options, rows);
        while (!run.IsFinished)
        {
            foreach (var piece in run.Step(cancellation))
            {
                texts[piece.Row].Append(piece.Text);
                if (piece.FinishReason is { } reason) reasons[piece.Row] = reason;
            }
        }
        return [.. rows.Select((row, i) =>
            new GenerationResult(texts[i].ToString(), row.History[row.Prompt.Count..], row.Prompt, reasons[i], row.Seed))];
    }

    IReadOnlyList<IReadOnlyList<int>> Encode(IReadOnlyList<string> prompts, GenerationOptions options)
    {
        Require.Items(prompts);
        if (tokenizer is null)
            throw new InvalidOperationException("the prompt is a text, but the generator has no tokenizer; expected a prompt of token ids");
        bool begin = options.BeginOfText ?? tokenizer.BeginOfText is not null;
        if (begin && tokenizer.BeginOfText is null)
            throw Require.Unfit(nameof(options),
                $"{nameof(options.BeginOfText)} is true, but the tokenizer has no such token", "false");
        return [.. prompts.Select(prompt => tokenizer.Encode(prompt, begin, options.RecognizeSpecialTokens))];
    }

    IReadOnlyList<GenerationRow> CreateRows(IReadOnlyList<IReadOnlyList<int>> prompts, GenerationOptions options)
    {
        Require.Items(prompts);
        if (options.Seeds is { } seeds && seeds.Count != prompts.Count)
            throw Require.Unfit(nameof(options), $"{nameof(options.Seeds)} has {seeds.Count} entries", $"{prompts.Count}, one for each prompt");
        CheckStops(options);
        var rows = new List<GenerationRow>();
        foreach (var prompt in prompts)
        {
            if (prompt is null) throw new ArgumentNullException(nameof(prompts), $"prompt {rows.Count} is null");
            if (prompt.Count == 0)
                throw Require.Unfit(nameof(prompts), $"prompt {rows.Count} is empty", "at least 1 token, such as begin of text");
            foreach (int id in prompt)
                if (id < 0 || id >= model.VocabularySize)
                    throw Require.Holding($"prompts[{rows.Count}]", id, $"0 to {model.VocabularySize - 1}, the ids of the vocabulary");
            rows.Add(new(rows.Count, prompt, tokenizer, options, options.Seeds?[rows.Count] ?? options.Seed ?? Random.Shared.NextInt64()));
        }
        return rows;
    }

    void CheckStops(GenerationOptions options)
    {
        foreach (int id in options.StopTokens ?? [])
        {
            if (tokenizer is not null && !tokenizer.Contains(id))
                throw Require.Unfit(nameof(options), $"{nameof(options.StopTokens)} holds {id}", "ids of the tokenizer");
            if (id < 0 || id >= model.VocabularySize)
                throw Require.Unfit(nameof(options), $"{nameof(options.StopTokens)} holds {id}", $"0 to {model.VocabularySize - 1}");
        }
        if (tokenizer is null && options.Stop.Count > 0)
        {
            throw Require.Unfit(nameof(options), $"{nameof(options.Stop)} holds {options.Stop.Count} texts",
                "none, since the generator has no tokenizer");
        }
    }
}
