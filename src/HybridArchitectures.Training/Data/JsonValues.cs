namespace HybridArchitectures.Training.Data;

/// <summary>Finds the start and end of JSON objects in a stream, by their quotes and brackets only.</summary>
sealed class JsonValues(ByteWindow window)
{
    /// <summary>Skips white space and returns whether the stream ends there.</summary>
    public bool AtEnd()
    {
        SkipBlanks();
        return window.Bytes.IsEmpty;
    }

    /// <summary>Skips white space and returns whether a character follows.</summary>
    public bool IsAt(char c)
    {
        SkipBlanks();
        return window.Bytes.Length > 0 && window.Bytes[0] == c;
    }

    /// <summary>Skips white space and a character, if it follows.</summary>
    public bool TryTake(char c)
    {
        if (!IsAt(c)) return false;
        window.Advance(1);
        return true;
    }

    /// <summary>Returns whether only white space is left in the line, and skips it and the end of the line.</summary>
    public bool IsAtLineEnd()
    {
        for (int length = 0; ;)
        {
            int next = window.Bytes[length..].IndexOfAnyExcept(" \t\r"u8);
            if (next >= 0)
            {
                if (window.Bytes[length + next] != '\n') return false;
                window.Advance(length + next + 1);
                return true;
            }
            length = window.Bytes.Length;
            if (!window.Read()) return window.IsComplete;
        }
    }

    /// <summary>Returns the length of the object that begins here, or null if the window ends before the object.</summary>
    public int? ObjectLength()
    {
        int depth = 0;
        bool inString = false;
        for (int at = 0; ;)
        {
            var rest = window.Bytes[at..];
            int mark = inString ? rest.IndexOfAny("\"\\"u8) : rest.IndexOfAny("\"{}[]"u8);
            if (mark < 0 || (inString && rest[mark] == '\\' && mark + 1 == rest.Length))
            {
                if (mark < 0) at = window.Bytes.Length;
                if (!window.Read()) return null;
                continue;
            }
            at += mark + 1;
            if (inString)
            {
                if (rest[mark] == '\\') at++;
                else inString = false;
            }
            else if (rest[mark] == '"') inString = true;
            else if (rest[mark] is (byte)'{' or (byte)'[') depth++;
            else if (--depth == 0) return at;
        }
    }

    void SkipBlanks()
    {
        do
        {
            int count = window.Bytes.IndexOfAnyExcept(" \t\r\n"u8);
            window.Advance(count < 0 ? window.Bytes.Length : count);
        }
        while (window.Bytes.IsEmpty && window.Read());
    }
}
