using HybridArchitectures.Chat;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Tests.Generation;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Chat;

public sealed class HybridChatClientTests : IDisposable
{
    static readonly ByteTokenizer Tokenizer = new(beginOfText: true, endOfText: true);

    readonly HybridLanguageModel model = new HybridDesign
    {
        Name = "small talk", Width = 24, VocabularySize = 258,
        Blocks = [new() { Mixer = new Mamba2Spec { Heads = 6, HeadSize = 8, StateSize = 4 }, FeedForward = FeedForwardSpec.SwiGlu(24) },
        new() { Mixer = new AttentionSpec { Heads = 4, Rotary = new RotarySpec() } }],
    }.Resolve().CreateModel(seed: 2);

    public void Dispose() => model.Dispose();

    static readonly ChatMessage[] Talk = [new(ChatRole.System, "Be brief."), new(ChatRole.User, "Hello")];

    static int[] Prompt => Tokenizer.Encode("system: Be brief.\nuser: Hello\nassistant:", beginOfText: true);

    [Fact]
    public async Task An_answer_is_what_the_generator_gives_for_the_template_with_the_same_options()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 });
        var response = await client.GetResponseAsync(
            Talk, new ChatOptions { Temperature = 0.7f, TopP = 0.9f, TopK = 40, MaxOutputTokens = 12, Seed = 5, StopSequences = ["zz"] });
        var expected = new TextGenerator(model, Tokenizer)
            .Generate(Prompt, new GenerationOptions { Temperature = 0.7, TopP = 0.9, TopK = 40, MaxNewTokens = 12, Seed = 5,
                Stop = ["\nuser:", "zz"] });
        Assert.Equal(expected.Text, response.Text);
        Assert.Equal(ChatRole.Assistant, response.Messages.Single().Role);
        Assert.Equal((Prompt.Length, expected.Ids.Count, Prompt.Length + expected.Ids.Count),
            (response.Usage!.InputTokenCount, response.Usage.OutputTokenCount, response.Usage.TotalTokenCount));
        Assert.Equal(expected.FinishReason == HybridArchitectures.Generation.FinishReason.MaxNewTokens ? ChatFinishReason.Length
            : ChatFinishReason.Stop, response.FinishReason);
        Assert.Equal("small talk", response.ModelId);
        Assert.NotNull(response.CreatedAt);
    }

    [Fact]
    public async Task Streamed_pieces_are_the_answer_and_end_with_its_usage()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 });
        var options = new ChatOptions { MaxOutputTokens = 9, Seed = 3 };
        var updates = await client.GetStreamingResponseAsync(Talk, options).ToListAsync(TestContext.Current.CancellationToken);
        var whole = await client.GetResponseAsync(Talk, options);
        Assert.Equal(whole.Text, string.Concat(updates.Select(update => update.Text)));
        Assert.Equal(whole.Text, updates.ToChatResponse().Text);
        Assert.True(updates.Count > 2);
        Assert.All(updates[..^1], update => Assert.Null(update.FinishReason));
        Assert.Equal(9, updates[^1].Contents.OfType<UsageContent>().Single().Details.OutputTokenCount);
        Assert.Equal(ChatFinishReason.Length, updates[^1].FinishReason);
        Assert.Single(updates.Select(update => update.MessageId).Distinct());
    }

    [Fact]
    public async Task Greedy_answers_and_seeds_repeat_and_defaults_hold_where_a_call_says_nothing()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { MaxNewTokens = 6, Seed = 1 });
        Task<ChatResponse> Ask(ChatOptions? options = null) => client.GetResponseAsync("Hello", options);
        Assert.Equal((await Ask()).Text, (await Ask()).Text);
        Assert.Equal(6, (await Ask()).Usage!.OutputTokenCount);
        Assert.NotEqual((await Ask(new() { Seed = 7, MaxOutputTokens = 20 })).Text, (await Ask(new() { Seed = 8, MaxOutputTokens = 20 })).Text);
        Assert.Equal((await Ask(new() { Temperature = 0, Seed = 7 })).Text, (await Ask(new() { Temperature = 0, Seed = 8 })).Text);
    }

    [Fact]
    public async Task A_stop_text_ends_the_answer_and_is_no_part_of_it()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 });
        var free = await client.GetResponseAsync("Hello", new() { Temperature = 0, MaxOutputTokens = 12 });
        string stop = free.Text[2..4];
        var stopped = await client.GetResponseAsync("Hello", new() { Temperature = 0, MaxOutputTokens = 12, StopSequences = [stop] });
        Assert.Equal(free.Text[..free.Text.IndexOf(stop, StringComparison.Ordinal)], stopped.Text);
        Assert.Equal(ChatFinishReason.Stop, stopped.FinishReason);
    }

    [Fact]
    public async Task Cancellation_ends_an_answer_between_two_tokens_and_the_next_one_can_begin()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 });
        using var source = new CancellationTokenSource();
        int pieces = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in client.GetStreamingResponseAsync(Talk, new() { MaxOutputTokens = 1000 }, source.Token))
                if (++pieces == 3) source.Cancel();
        });
        Assert.Equal(3, pieces);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client.GetResponseAsync(Talk, null, source.Token));
        Assert.Equal(2, (await client.GetResponseAsync(Talk, new() { MaxOutputTokens = 2 })).Usage!.OutputTokenCount);
    }

    [Fact]
    public async Task Calls_from_several_threads_take_turns_and_get_the_right_answers()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { MaxNewTokens = 8, Temperature = 0 });
        string[] questions = ["one", "two", "three", "four"];
        var alone = new List<string>();
        foreach (string question in questions) alone.Add((await client.GetResponseAsync(question)).Text);
        var together = await Task.WhenAll(questions.Select(question => Task.Run(() => client.GetResponseAsync(question))));
        Assert.Equal(alone, together.Select(response => response.Text));
    }

    [Fact]
    public async Task An_answer_that_is_left_unread_blocks_no_later_call()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { MaxNewTokens = 8, Temperature = 0 });
        var cancellation = TestContext.Current.CancellationToken;
        string alone = (await client.GetResponseAsync("one", cancellationToken: cancellation)).Text;
        var left = client.GetStreamingResponseAsync("one", cancellationToken: cancellation).GetAsyncEnumerator(cancellation);
        Assert.True(await left.MoveNextAsync());
        string begun = left.Current.Text;
        Assert.Equal(alone, (await client.GetResponseAsync("one", cancellationToken: cancellation).WaitAsync(TimeSpan.FromMinutes(10),
            cancellation)).Text);
        while (await left.MoveNextAsync()) begun += left.Current.Text;
        Assert.Equal(alone, begun);
    }

    [Fact]
    public async Task A_disposed_client_answers_no_more()
    {
        var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 });
        var begun = client.GetStreamingResponseAsync("one",
            cancellationToken: TestContext.Current.CancellationToken).GetAsyncEnumerator(TestContext.Current.CancellationToken);
        Assert.True(await begun.MoveNextAsync());
        client.Dispose();
        client.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await begun.MoveNextAsync());
        Assert.Throws<ObjectDisposedException>(() =>
            { client.GetStreamingResponseAsync("one", cancellationToken: TestContext.Current.CancellationToken); });
        Assert.NotEmpty(new TextGenerator(model, Tokenizer).Generate("a", new() { MaxNewTokens = 1 }).Ids);
    }

    [Fact]
    public async Task Instructions_come_first_and_turns_keep_their_order()
    {
        IReadOnlyList<ChatMessage>? seen = null;
        var template = new ChatTemplate(messages =>
        {
            seen = messages;
            return [1, 2, 3];
        });
        using var client = new HybridChatClient(model, Tokenizer, template, defaults: new() { Seed = 1 });
        ChatMessage[] talk = [new(ChatRole.User, "a"), new(ChatRole.Assistant, "b"), new(ChatRole.Tool, "c"),
            new(ChatRole.User, [new TextContent("d"), new TextContent("e")])];
        var response = await client.GetResponseAsync(talk, new() { Instructions = "i", MaxOutputTokens = 1 });
        Assert.Equal(["system i", "user a", "assistant b", "tool c", "user de"], seen!.Select(message => $"{message.Role} {message.Text}"));
        Assert.Equal(3, response.Usage!.InputTokenCount);
    }

    [Fact]
    public void What_the_model_cannot_do_is_refused_at_the_call()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 });
        string Refused(ChatOptions options) =>
            Assert.Throws<NotSupportedException>(() => { client.GetStreamingResponseAsync(Talk, options); }).Message;
        Assert.Contains("Tools", Refused(new() { Tools = [new HostedWebSearchTool()] }));
        Assert.Contains("JSON", Refused(new() { ResponseFormat = ChatResponseFormat.Json }));
        Assert.Contains("FrequencyPenalty", Refused(new() { FrequencyPenalty = 1 }));
        Assert.Contains("PresencePenalty", Refused(new() { PresencePenalty = 1 }));
        Assert.Contains("ConversationId", Refused(new() { ConversationId = "x" }));
        Assert.Contains("DataContent",
            Assert.Throws<NotSupportedException>(
            () => { client.GetStreamingResponseAsync([new ChatMessage(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")])]); }).Message);
        Assert.Contains("editor", Assert.Throws<NotSupportedException>(
            () => { client.GetStreamingResponseAsync([new ChatMessage(new ChatRole("editor"), "x")]); }).Message);
        Assert.Throws<ArgumentException>("messages", () => { client.GetStreamingResponseAsync([]); });
        Assert.ThrowsAny<ArgumentException>(() => { client.GetStreamingResponseAsync(Talk, new() { MaxOutputTokens = 0 }); });
    }

    [Fact]
    public void Services_are_the_parts_it_is_made_of()
    {
        using var client = new HybridChatClient(model, Tokenizer, defaults: new() { Seed = 1 }, modelId: "mine");
        Assert.Same(client, client.GetService(typeof(IChatClient)));
        Assert.Same(model, client.GetService(typeof(LanguageModel)));
        Assert.Same(Tokenizer, client.GetService(typeof(Tokenizer)));
        Assert.Equal("mine", ((ChatClientMetadata)client.GetService(typeof(ChatClientMetadata))!).DefaultModelId);
        Assert.Null(client.GetService(typeof(IChatClient), "key"));
        Assert.Null(client.GetService(typeof(string)));
    }

    [Fact]
    public void Templates_write_what_their_models_were_trained_on()
    {
        var llama = Llama3Tokenizer.Load(Path.Combine(AppContext.BaseDirectory, "Cases", "tokenizer"));
        ChatMessage[] talk = [new(ChatRole.User, "Hi <|eot_id|>")];
        Assert.Equal(llama.EncodeChat(talk), ChatTemplate.Llama3(llama).Encode(talk));
        Assert.Equal("<|begin_of_text|>user: Hi <|eot_id|>\nassistant:",
            new ByteTokenizer(beginOfText: true).Decode(ChatTemplate.Plain(new ByteTokenizer(beginOfText: true)).Encode(talk)));
        var chatMl = ChatTemplate.ChatMl(new ChatMlTokenizer());
        Assert.Equal("<|im_start|>user\nHi <|eot_id|><|im_end|>\n<|im_start|>assistant\n", new ChatMlTokenizer().Decode(chatMl.Encode(talk)));
        Assert.Equal([257], chatMl.StopTokens);
        Assert.Throws<ArgumentException>("tokenizer", () => ChatTemplate.ChatMl(Tokenizer));
    }
}
