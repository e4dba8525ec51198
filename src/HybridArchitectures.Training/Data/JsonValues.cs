namespace HybridArchitectures.Training;

/// <summary>Finds where JSON objects begin and end in a stream, by their quotes and brackets alone.</summary>
sealed class JsonValues(ByteWindow window)
{
    /// <summary>Skips blanks and returns whether the stream ends there.</summary>
    public bool AtEnd()
    {
        SkipBlanks();
        return window.Bytes.IsEmpty;
    }

    /// <summary>Skips blanks and returns whether a character is there.</summary>
    public bool IsAt(char c)
    {
        SkipBlanks();
        return window.Bytes.Length > 0 && window.Bytes[0] == c;
    }

    /// <summary>Skips blanks and a character, if it is there.</summary>
    public bool TryTake(char c)
    {
        if (!IsAt(c)) return false;
        window.Advance(1);
        return true;
    }

    /// <summary>Returns whether nothing but blanks is left of the line, and skips them and the line's end.</summary>
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

    /// <summary>Returns the length of the object that begins here; null where the window ends before the object does.</summary>
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
