namespace HybridArchitectures.Design;

public sealed partial record HybridDesign
{
    /// <summary>Reviews the design for known weaknesses, with evidence and fixes. See <see cref="DesignRules"/>.</summary>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <exception cref="ArgumentException">A model of the design is not possible, or an option is out of range.</exception>
    public DesignReview Review(ReviewOptions? options = null) => new(this, options);
}
