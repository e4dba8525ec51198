using static HybridArchitectures.Reports.Drawing.SvgWriter;

namespace HybridArchitectures.Reports.Page;

/// <summary>Writes the beginning and the end of a page that contains all styles and scripts. Its security policy blocks everything else.</summary>
static class PageFrame
{
    /// <summary>Returns the page up to its title and its description.</summary>
    /// <param name="title">The title, as plain text.</param>
    /// <param name="description">The description, as plain text. It can be empty.</param>
    /// <param name="styles">The styles in addition to those of every page.</param>
    public static string Begin(string title, string description, string styles) => $"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{Escape(title)}</title>
        <style>
        {Resource("page.css")}{styles}</style>
        </head>
        <body>
        <main>
        <header>
        <h1>{Escape(title)}</h1>

        """ + (description.Length > 0 ? $"<p>{Escape(description)}</p>\n" : "");

    /// <summary>Returns the end of the page.</summary>
    /// <param name="script">The name of the resource with its script.</param>
    public static string End(string script) => $"</main>\n<script>\n{Resource(script)}</script>\n</body>\n</html>\n";

    /// <summary>Returns the text of a resource of this assembly.</summary>
    public static string Resource(string name)
    {
        using var stream = typeof(PageFrame).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"the assembly does not contain {name}");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
