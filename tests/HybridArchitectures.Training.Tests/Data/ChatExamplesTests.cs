using HybridArchitectures.Chat;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Training.Tests.Data;

public class ChatExamplesTests
{
    static readonly ByteTokenizer Tokenizer = new(endOfText: true);

    static readonly ChatMessage[] Chat =
    [
        new(ChatRole.System, "Be brief."), new(ChatRole.User, "one?"), new(ChatRole.Assistant, "1"), new(ChatRole.User, "two?"),
        new(ChatRole.Assistant, "2"),
    ];

    static readonly ChatRole[] Roles = [ChatRole.System, ChatRole.User, ChatRole.Assistant];

    // a turn is its role, its text and 0, which ends an answer
    static readonly ChatTemplate Turns = new(
        messages => [.. messages.SelectMany(message => (int[])[1 + Array.IndexOf(Roles, message.Role), .. Tokenizer.Encode(message.Text), 0]), 3],
        [0]);

    static (string Prompt, string Answer) Split(TrainingExample example)
    {
        string Text(IEnumerable<int> ids) => string.Concat(ids.Select(id => id > 8 && id < 256 ? $"{(char)id}" : $"<{id}>"));
        return (Text(example.Tokens.Take(example.PromptLength)), Text(example.Tokens.Skip(example.PromptLength)));
    }

    [Fact]
    public void Each_answer_is_an_example_up_to_its_stop_token()
    {
        var examples = new ChatExamples(Turns, Tokenizer).Read(Chat, 0).Select(Split).ToArray();
        Assert.Equal([("<1>Be brief.<0><2>one?<0><3>", "1<0>"), ("<1>Be brief.<0><2>one?<0><3>1<0><2>two?<0><3>", "2<0>")], examples);
    }

    [Fact]
    public void Plain_lines_end_with_the_end_of_text()
    {
        var examples = new ChatExamples(ChatTemplate.Plain(Tokenizer), Tokenizer).Read(Chat, 0).Select(Split).ToArray();
        string end = $"<{Tokenizer.EndOfText}>";
        Assert.Equal(("system: Be brief.\nuser: one?\nassistant:", $" 1\n{end}"), examples[0]);
        Assert.EndsWith("user: two?\nassistant:", examples[1].Prompt);
        Assert.Equal($" 2\n{end}", examples[1].Answer);
    }

    [Fact]
    public void Conversations_become_packed_rows_whose_answers_alone_count()
    {
        var data = ExampleDataset.FromChats([Chat, Chat[1..3]], Turns, Tokenizer);
        Assert.Equal(3, data.Count);
        using var batch = data.OpenReader(new(64, 1, false)).ReadBatch(1);
        Assert.Equal(3 * 2, batch.Counted);            // each answer has one character and its end
        Assert.NotNull(batch.Layout);
    }

    [Fact]
    public void Conversations_without_an_answer_and_templates_that_change_the_past_are_refused()
    {
        Assert.Contains("chats[1]", Assert.ThrowsAny<ArgumentException>(
            () => ExampleDataset.FromChats([Chat, Chat[..2]], Turns, Tokenizer)).Message);
        var changing = new ChatTemplate(messages => [messages.Count, 3]);
        Assert.Contains("chats[0]", Assert.ThrowsAny<ArgumentException>(() => ExampleDataset.FromChats([Chat], changing, Tokenizer)).Message);
    }
}
