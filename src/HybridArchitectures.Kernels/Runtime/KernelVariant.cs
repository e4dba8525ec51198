namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Represents a kernel source and the options with which it is compiled. Each source with options has a derived record, whose equality selects the
/// compiled kernels.
/// </summary>
abstract record KernelVariant
{
    /// <summary>Gets the name of the source file.</summary>
    public abstract string File { get; }

    /// <summary>Gets the preprocessor definitions that express the options: names and values.</summary>
    public virtual IEnumerable<(string Name, object Value)> Definitions => [];

    /// <summary>Returns the variant of a source without options.</summary>
    public static implicit operator KernelVariant(string file) => new NamedKernel(file);

    /// <summary>Returns the number that the preprocessor knows for a condition.</summary>
    protected static int Flag(bool condition) => condition ? 1 : 0;
}
