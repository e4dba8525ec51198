namespace HybridArchitectures.Chat.Jinja;

/// <summary>Represents a tuple: a list that is written in parentheses and that equals no other list.</summary>
sealed class JinjaTuple(IEnumerable<object?> items) : List<object?>(items);
