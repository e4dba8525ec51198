using System.Globalization;
using System.Text.Json;
using HybridArchitectures.Chat.Jinja;

namespace HybridArchitectures.Tests.Chat;

/// <summary>
/// Compares whole templates with the output of Jinja2 (Cases/chat/render.py). Some were written for these tests and use what published templates use.
/// Published templates are compared if <c>HYBRID_CHAT_TEMPLATES</c> names a folder in which render.py ran.
/// </summary>
public class ChatTemplateCasesTests
{
    const string Variable = "HYBRID_CHAT_TEMPLATES";

    static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Cases", "chat");

    public static TheoryData<string> Names =>
        [.. Directory.GetFiles(Folder, "*.jinja").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(Names))]
    public void A_template_renders_every_conversation_as_Jinja2_does(string name) => Assert.True(Check(Folder, name) >= 8);

    [Fact]
    public void Published_templates_render_as_Jinja2_does()
    {
        string? folder = Environment.GetEnvironmentVariable(Variable);
        Assert.SkipWhen(string.IsNullOrEmpty(folder), $"{Variable} names no folder of published templates");
        string[] templates = Directory.GetFiles(folder!, "*.jinja");
        Assert.NotEmpty(templates);
        foreach (string template in templates) Assert.True(Check(folder!, Path.GetFileName(template)) > 0, template);
    }

    // returns the number of conversations
    static int Check(string folder, string name)
    {
        using var file = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "rendered.json")));
        var root = file.RootElement;
        var now = DateTime.Parse(root.GetProperty("now").GetString()!, CultureInfo.InvariantCulture);
        string text = File.ReadAllText(Path.Combine(folder, name));
        int count = 0;
        foreach (var conversation in root.GetProperty("conversations").EnumerateObject())
        {
            var variables = (Dictionary<string, object?>)JinjaTemplateTests.Value(conversation.Value)!;
            string? expected = root.GetProperty("rendered").GetProperty(name).GetProperty(conversation.Name).GetString();
            Assert.Equal((name, conversation.Name, expected), (name, conversation.Name, Rendered(text, variables, now)));
            count++;
        }
        return count;
    }

    // null if the template refuses the conversation
    static string? Rendered(string text, Dictionary<string, object?> variables, DateTime now)
    {
        try
        {
            return JinjaTemplate.Parse(text).Render(variables, now);
        }
        catch (Exception error) when (error is InvalidDataException or ArgumentException)
        {
            return null;
        }
    }
}
