namespace HybridArchitectures.Design;

public sealed partial record HybridDesign
{
    /// <summary>What is known to go wrong with designs like this one, with evidence and cure. See <see cref="DesignRules"/>.</summary>
    /// <exception cref="ArgumentException">No model can be made of the design, or an option is out of range.</exception>
    public DesignReview Review(ReviewOptions? options = null) => new(this, options);
}
