namespace HybridArchitectures.Training.Conversion;

/// <summary>Contains the options of an <see cref="ImportanceScan"/>.</summary>
public sealed record ImportanceScanOptions
{
    /// <summary>Gets or sets the number of tokens per row.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Gets or sets the number of rows per forward pass. The default is 8.</summary>
    public int Rows { get; init; } = 8;

    /// <summary>Gets or sets the number of tokens to predict, evenly spread over the data. The default, 0, predicts all.</summary>
    public long Tokens { get; init; }

    /// <summary>
    /// Gets or sets the number of tokens that a query sees when a layer is replaced by attention over a window. The default, null, does not measure
    /// this replacement.
    /// </summary>
    public int? Window { get; init; }

    /// <summary>
    /// Gets or sets the path of a JSON file that receives each measurement as soon as it is made. A scan of the same model, data and options
    /// continues with the measurements in it. The default, null, saves nothing.
    /// </summary>
    public string? File { get; init; }

    /// <summary>Checks the options.</summary>
    /// <exception cref="ArgumentException">An option is invalid. The message contains its name, its value, and what was expected.</exception>
    public void Check()
    {
        Require.AtLeast(ContextLength, 1, nameof(ContextLength));
        Require.AtLeast(Rows, 1, nameof(Rows));
        Require.AtLeast(Tokens, 0, nameof(Tokens));
        Require.InRange(Window is null or >= 1, nameof(Window), Window, "at least 1 token, or null");
        if (File is { Length: 0 }) throw Require.Unfit(nameof(File), $"{nameof(File)} is empty", "a path, or null to save nothing");
    }
}
