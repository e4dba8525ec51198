namespace HybridArchitectures.Chat.Jinja;

/// <summary>A template's <c>namespace(...)</c>: variables that a loop may change for the parts after it.</summary>
sealed class JinjaNamespace
{
    public Dictionary<string, object?> Values { get; } = new(StringComparer.Ordinal);
}
