namespace HybridArchitectures.Chat.Jinja;

/// <summary>Represents a template's <c>namespace(...)</c>: variables that a loop may change for the parts after it.</summary>
sealed class JinjaNamespace(Dictionary<string, object?> values)
{
    public Dictionary<string, object?> Values { get; } = values;
}
