using System.Globalization;
using System.Text;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>Formats dates as <c>strftime</c> of C and Python does.</summary>
static class JinjaClock
{
    public static string Format(DateTime time, string format)
    {
        var text = new StringBuilder();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length) text.Append(format[i]);
            // without leading zeros or spaces
            else if (format[i + 1] == '-' && i + 2 < format.Length) text.Append(Short(Part(time, format[i += 2])));
            else text.Append(Part(time, format[++i]));
        }
        return text.ToString();
    }

    static string Short(string part) => part.TrimStart('0', ' ') is { Length: > 0 } rest ? rest : "0";

    static string Part(DateTime time, char letter)
    {
        string Net(string format) => time.ToString(format, CultureInfo.InvariantCulture);
        return letter switch
        {
            'd' => Net("dd"),
            'e' => time.Day.ToString(CultureInfo.InvariantCulture).PadLeft(2),
            'b' or 'h' => Net("MMM"),
            'B' => Net("MMMM"),
            'm' => Net("MM"),
            'Y' => Net("yyyy"),
            'y' => Net("yy"),
            'H' => Net("HH"),
            'I' => Net("hh"),
            'M' => Net("mm"),
            'S' => Net("ss"),
            'p' => Net("tt"),
            'a' => Net("ddd"),
            'A' => Net("dddd"),
            'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
            'F' => Net("yyyy-MM-dd"),
            'T' => Net("HH:mm:ss"),
            '%' => "%",
            _ => throw JinjaValue.Bad($"the date format %{letter} is not supported"),
        };
    }
}
