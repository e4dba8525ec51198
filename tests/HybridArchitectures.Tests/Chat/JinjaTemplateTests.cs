using System.Text.Json;
using HybridArchitectures.Chat.Jinja;

namespace HybridArchitectures.Tests.Chat;

/// <summary>
/// Compares small templates with the output of Jinja2 3.1 with the settings of transformers. Null means that Jinja2 refuses the template.
/// </summary>
public class JinjaTemplateTests
{
    static readonly JsonElement Root = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Cases", "jinja",
        "jinja.json"))).RootElement;

    static readonly Dictionary<string, object?> Variables = (Dictionary<string, object?>)Value(Root.GetProperty("variables"))!;

    internal static object? Value(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Null => null,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.String => element.GetString(),
        JsonValueKind.Number when element.TryGetInt64(out long whole) => whole,
        JsonValueKind.Number => element.GetDouble(),
        JsonValueKind.Array => element.EnumerateArray().Select(Value).ToList(),
        _ => element.EnumerateObject().ToDictionary(property => property.Name, property => Value(property.Value)),
    };

    [Fact]
    public void Templates_render_as_the_reference_does()
    {
        var cases = Root.GetProperty("cases").EnumerateArray().ToArray();
        Assert.True(cases.Length > 280);
        foreach (var item in cases)
        {
            string template = item.GetProperty("template").GetString()!;
            string? rendered;
            try
            {
                rendered = JinjaTemplate.Parse(template).Render(Variables, new DateTime(2024, 7, 26, 9, 5, 3));
            }
            catch (Exception error) when (error is InvalidDataException or ArgumentException)
            {
                rendered = null;
            }
            Assert.Equal((template, item.GetProperty("want").GetString()), (template, rendered));
        }
    }
}
