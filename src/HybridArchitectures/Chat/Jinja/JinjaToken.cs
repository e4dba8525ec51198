namespace HybridArchitectures.Chat.Jinja;

/// <summary>What a token of a template is.</summary>
enum JinjaKind
{
    /// <summary>Text outside tags.</summary>
    Text,

    /// <summary>The beginning of an output, <c>{{</c>.</summary>
    OutputStart,

    /// <summary>The beginning of a statement, <c>{%</c>.</summary>
    StatementStart,

    /// <summary>The end of an output or statement.</summary>
    TagEnd,

    /// <summary>A name or keyword.</summary>
    Name,

    /// <summary>A quoted text, without its quotes.</summary>
    String,

    /// <summary>A number.</summary>
    Number,

    /// <summary>An operator or a bracket.</summary>
    Sign,

    /// <summary>The end of the template.</summary>
    End,
}

/// <summary>A token of a template.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Text">Its text.</param>
/// <param name="Line">The line it begins on, from 1.</param>
readonly record struct JinjaToken(JinjaKind Kind, string Text, int Line);
