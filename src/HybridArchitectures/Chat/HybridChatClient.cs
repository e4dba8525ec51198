using System.Runtime.CompilerServices;
using System.Text;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Chat;

/// <summary>
/// Implements the <see cref="IChatClient"/> of Microsoft.Extensions.AI for a model: complete and streamed answers, sampling options in
/// <see cref="ChatOptions"/>, cancellation between two tokens, and token counts.
/// </summary>
/// <remarks>
/// Several calls at the same time take turns after each token, and each has its own cache. An answer that is not read to its end does not block other
/// calls. Only text is supported. Tools, images and answers with a schema are refused.
/// </remarks>
/// <example>
/// <code>
/// using Microsoft.Extensions.AI;
/// using var model = HybridDesign.Create(width: 32, vocabularySize: 256).WithAttention(heads: 2).Depth(2).Build().CreateModel(seed: 0);
/// using IChatClient client = new HybridChatClient(model, new ByteTokenizer());
/// ChatResponse answer = await client.GetResponseAsync("Hello", new ChatOptions { MaxOutputTokens = 8, Temperature = 0.8f, Seed = 1 });
/// Console.WriteLine(answer.Text);
/// </code>
/// </example>
public sealed class HybridChatClient : IChatClient
{
    readonly LanguageModel model;
    readonly Tokenizer tokenizer;
    readonly ChatTemplate template;
    readonly GenerationOptions defaults;
    readonly TextGenerator generator;
    readonly ChatClientMetadata metadata;
    readonly SemaphoreSlim turn = new(1, 1);
    bool disposed;

    /// <summary>
    /// Creates a client. The caller disposes the model and the tokenizer, which must not be used elsewhere while the client answers.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">The tokenizer of the model.</param>
    /// <param name="template">
    /// The chat template. The default, null, means the template of Llama 3 for a <see cref="Llama3Tokenizer"/>, and <see cref="ChatTemplate.Plain"/>
    /// otherwise.
    /// </param>
    /// <param name="defaults">
    /// The options that apply if a call sets none. The default, null, means the defaults of <see cref="GenerationOptions"/>.
    /// </param>
    /// <param name="modelId">The model id in answers. The default, null, means the name of the design.</param>
    /// <param name="weightType">
    /// The type of the weights during answers, as in <see cref="TextGenerator"/>. The default, null, uses the model itself.
    /// </param>
    /// <exception cref="ArgumentException">The tokenizer has more tokens than the model.</exception>
    public HybridChatClient(LanguageModel model, Tokenizer tokenizer, ChatTemplate? template = null, GenerationOptions? defaults = null,
        string? modelId = null,
        TorchSharp.torch.ScalarType? weightType = null)
    {
        generator = new TextGenerator(model, tokenizer, weightType);
        (this.model, this.tokenizer) = (model, tokenizer);
        this.template = template ?? (tokenizer is Llama3Tokenizer llama ? ChatTemplate.Llama3(llama) : ChatTemplate.Plain(tokenizer));
        this.defaults = defaults ?? new();
        metadata = new ChatClientMetadata("HybridArchitectures", defaultModelId: modelId ?? (model as HybridLanguageModel)?.Design.Name);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">There is no message, or an option is out of range.</exception>
    /// <exception cref="NotSupportedException">A message or an option requires something other than text.</exception>
    /// <exception cref="ObjectDisposedException">The client is disposed.</exception>
    public async Task<ChatResponse> GetResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        var text = new StringBuilder();
        ChatResponseUpdate? last = null;
        await foreach (var update in GetStreamingResponseAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            text.Append(update.Text);
            last = update;
        }
        return new ChatResponse(new ChatMessage(ChatRole.Assistant, text.ToString()) { MessageId = last!.MessageId })
        {
            ResponseId = last.ResponseId, ModelId = last.ModelId, CreatedAt = last.CreatedAt, FinishReason = last.FinishReason,
            Usage = last.Contents.OfType<UsageContent>().Single().Details,
        };
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">There is no message, or an option is out of range.</exception>
    /// <exception cref="NotSupportedException">A message or an option requires something other than text.</exception>
    /// <exception cref="ObjectDisposedException">The client is disposed.</exception>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        ArgumentNullException.ThrowIfNull(messages);
        // refuse when the method is called, not when the first piece is read
        var turns = ChatTurns.FromMessages(messages, options);
        return Stream(template.Encode(turns), Settings(options), options?.ModelId ?? metadata.DefaultModelId, cancellationToken);
    }

    async IAsyncEnumerable<ChatResponseUpdate> Stream(
        IReadOnlyList<int> prompt, GenerationOptions settings, string? modelId, [EnumeratorCancellation] CancellationToken cancellation)
    {
        string response = Guid.NewGuid().ToString("N");
        var created = DateTimeOffset.UtcNow;
        int count = 0;
        ChatResponseUpdate Update(IList<AIContent> contents) =>
            new(ChatRole.Assistant, contents) { ResponseId = response, MessageId = response, ModelId = modelId,
                CreatedAt = created };
        var pieces = generator.StreamAsync(prompt, settings, cancellation).GetAsyncEnumerator(cancellation);
        await using var _ = pieces.ConfigureAwait(false);
        while (await MoveNext(pieces, cancellation).ConfigureAwait(false))
        {
            var piece = pieces.Current;
            count++;
            if (piece.Text.Length > 0) yield return Update([new TextContent(piece.Text)]);
            if (piece.FinishReason is not { } reason) continue;
            var usage = new UsageDetails { InputTokenCount = prompt.Count, OutputTokenCount = count, TotalTokenCount = prompt.Count + count };
            var end = Update([new UsageContent(usage)]);
            end.FinishReason = reason == FinishReason.MaxNewTokens ? ChatFinishReason.Length : ChatFinishReason.Stop;
            yield return end;
        }
    }

    // a turn lasts for one token, so a reader who stops reading blocks nobody
    async Task<bool> MoveNext(IAsyncEnumerator<GeneratedPiece> pieces, CancellationToken cancellation)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        await turn.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            return await pieces.MoveNextAsync().ConfigureAwait(false);
        }
        finally
        {
            turn.Release();
        }
    }

    GenerationOptions Settings(ChatOptions? options)
    {
        var settings = defaults with { StopTokens = defaults.StopTokens ?? template.StopTokens, Stop = [.. defaults.Stop.Union(template.Stop)] };
        if (options is null) return settings;
        ChatTurns.Refuse(options);
        return settings with
        {
            Temperature = Exactly(options.Temperature) ?? settings.Temperature, TopP = Exactly(options.TopP) ?? settings.TopP,
            TopK = options.TopK ?? settings.TopK,
            MaxNewTokens = options.MaxOutputTokens ?? settings.MaxNewTokens, Seed = options.Seed ?? settings.Seed,
            Stop = [.. settings.Stop.Union(options.StopSequences ?? [])],
        };
    }

    // 0.8f means 0.8
    static double? Exactly(float? value) => value is { } number ? (double)(decimal)number : null;

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        if (serviceKey is not null) return null;
        return new object[] { this, metadata, model, tokenizer, template }.FirstOrDefault(serviceType.IsInstanceOfType);
    }

    /// <summary>
    /// Disposes the client. Reading an unfinished answer then throws an <see cref="ObjectDisposedException"/>. Model and tokenizer are not disposed.
    /// </summary>
    public void Dispose()
    {
        disposed = true;
        generator.Dispose();
    }
}
