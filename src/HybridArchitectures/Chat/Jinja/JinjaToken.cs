namespace HybridArchitectures.Chat.Jinja;

/// <summary>Specifies the kind of a token of a template.</summary>
enum JinjaKind
{
    /// <summary>Specifies text outside tags.</summary>
    Text,

    /// <summary>Specifies the beginning of an output, <c>{{</c>.</summary>
    OutputStart,

    /// <summary>Specifies the beginning of a statement, <c>{%</c>.</summary>
    StatementStart,

    /// <summary>Specifies the end of an output or statement.</summary>
    TagEnd,

    /// <summary>Specifies a name or keyword.</summary>
    Name,

    /// <summary>Specifies a quoted string, without its quotes.</summary>
    String,

    /// <summary>Specifies a number.</summary>
    Number,

    /// <summary>Specifies an operator or a bracket.</summary>
    Sign,

    /// <summary>Specifies the end of the template.</summary>
    End,
}

/// <summary>Represents a token of a template.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Text">The text.</param>
/// <param name="Line">The line on which the token begins, counted from 1.</param>
readonly record struct JinjaToken(JinjaKind Kind, string Text, int Line);
