namespace HybridArchitectures.Chat.Jinja;

/// <summary>Specifies the kind of a token of a template.</summary>
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

    /// <summary>A quoted string, without its quotes.</summary>
    String,

    /// <summary>A number.</summary>
    Number,

    /// <summary>An operator or a bracket.</summary>
    Sign,

    /// <summary>The end of the template.</summary>
    End,
}

/// <summary>Represents a token of a template.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Text">The text.</param>
/// <param name="Line">The line on which the token begins, counted from 1.</param>
readonly record struct JinjaToken(JinjaKind Kind, string Text, int Line);
